"""Small bundles, and applications and servers that use them."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pneumonia.bundle import bundle as bundles
from pneumonia.data import phantom
from pneumonia.serving.main import create_app
from pneumonia.serving.settings import AppSettings
from tests.support import bright, evidence, mlflow_store, readme

BASE_URL = "http://127.0.0.1:8000"
PHANTOMS = bundles.DataLineage("phantom", "drawn", "5e" * 32, {"test": {"NORMAL": 1, "PNEUMONIA": 3}})


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep exported graphs in a cache of the test session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that classifies images with a mean grey level of 50 or more as PNEUMONIA."""
    folder = tmp_path_factory.mktemp("models") / "bright"
    return bright.write_bundle(folder, slope=0.02, data=PHANTOMS).folder


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that classifies nearly all images as NORMAL."""
    folder = tmp_path_factory.mktemp("models") / "other"
    return bright.write_bundle(folder, slope=0.001, data=PHANTOMS, name="other").folder


@pytest.fixture(scope="session")
def _shared_client(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = AppSettings(bundle=bundle, state=tmp_path_factory.mktemp("state"))
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        yield client


@pytest.fixture
def client(_shared_client: TestClient) -> TestClient:
    """A client without cookies, of an application with default settings that all tests share."""
    _shared_client.cookies.clear()
    return _shared_client


@pytest.fixture
def open_app(bundle: Path, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Start applications with given settings."""
    with ExitStack() as stack:

        def start(**settings: Any) -> TestClient:
            complete = {"bundle": bundle, "state": tmp_path / "state"} | settings
            return stack.enter_context(TestClient(create_app(AppSettings(**complete)), base_url=BASE_URL))

        yield start


@pytest.fixture(scope="session")
def radiograph() -> bytes:
    """A phantom as PNG."""
    return encode(draw(1))


def draw(seed: int, size: int = 160) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return phantom.draw(np.random.default_rng(seed), "bacteria", size=size, difficulty=0).pixels


def encode(pixels: np.ndarray[Any, np.dtype[np.uint8]], form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def send(client: TestClient, *files: tuple[str, bytes], **query: Any) -> list[dict[str, Any]]:
    """Upload files and return their predictions."""
    response = client.post("/api/v1/predictions", files=[("files", file) for file in files], params=query)
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


class Server:
    """``pneumonia serve`` in a process of its own."""

    def __init__(self, *options: str, cwd: Path, program: str = "from pneumonia.cli.serve import serve; serve()"):
        self.log = cwd / "log.jsonl"
        command = [sys.executable, "-c", program, "--port", "0", *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log)

    def wait_for_port(self) -> int:
        """Return the port once the server listens."""
        while self.process.poll() is None:
            for line in self.events():
                if line.get("event", "").startswith("Uvicorn running on"):
                    return int(line["event"].split(" (")[0].rsplit(":", 1)[1])
        raise AssertionError(self.log.read_text())

    def events(self) -> list[dict[str, Any]]:
        """Return the log so far."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers, each in its own folder."""
    started: list[Server] = []

    def start(*options: str, **named: str) -> Server:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(Server(*options, cwd=folder, **named))
        return started[-1]

    yield start
    for server in started:
        server.stop()


NAME = "pneumonia-classifier"
SLOPES = (0.02, 0.001)
"""Slopes of versions 1 and 2: version 1 classifies bright images as PNEUMONIA, version 2 nearly all as NORMAL."""


@pytest.fixture(scope="session")
def _two_versions(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pneumonia.registry import registration, tracking
    from pneumonia.registry.tracking import RunRecord

    folder = tmp_path_factory.mktemp("registry")
    data = bundles.DataLineage("kermany", "resized-224", "5e" * 32, {"test": {"NORMAL": 1, "PNEUMONIA": 3}})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(sys, "path", list(sys.path))  # MLflow adds the code of each model that it loads
        project = mlflow_store.copy(migrated_store, folder / "project")
        shutil.copyfile(readme.ROOT / "params.yaml", project / "params.yaml")
        store = tracking.open_store(project)
        for slope in SLOPES:
            bundle = bright.write_bundle(folder / f"bundle-{slope}", slope=slope, data=data)
            run_id = tracking.record(store, RunRecord(bundle, metrics={}))
            reports = evidence.write(folder / f"reports-{slope}", bundle)
            registration.register(store, bundle, run_id, name=NAME, metrics={}, reports=reports)
        store.client.set_registered_model_alias(NAME, "champion", "1")
    return project


@pytest.fixture
def registry_project(_two_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose registry has two versions, see `SLOPES`; version 1 is the champion."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    project = mlflow_store.copy(_two_versions, tmp_path / "project")
    shutil.copyfile(_two_versions / "params.yaml", project / "params.yaml")
    return project
