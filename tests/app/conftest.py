"""A tiny real bundle, and applications and servers that answer with it."""

import io
import json
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

from pneumonia.app.main import create_app
from pneumonia.app.settings import Settings
from pneumonia.data import phantom
from pneumonia.models import bundle as bundles
from tests import bright

BASE_URL = "http://127.0.0.1:8000"
PHANTOMS = bundles.DataLineage("phantom", "drawn", "5e" * 32, {"test": {"NORMAL": 1, "PNEUMONIA": 3}})


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Graphs of bundles go to a cache of the tests' own; making one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls images PNEUMONIA whose mean grey level is 50 or more."""
    folder = tmp_path_factory.mktemp("models") / "bright"
    return bright.write_bundle(folder, slope=0.02, data=PHANTOMS).folder


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls nearly everything NORMAL."""
    folder = tmp_path_factory.mktemp("models") / "other"
    return bright.write_bundle(folder, slope=0.001, data=PHANTOMS, name="other").folder


@pytest.fixture
def open_app(bundle: Path, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Start applications; the client is a script on this machine, until it is told to be something else."""
    with ExitStack() as stack:

        def start(**settings: Any) -> TestClient:
            told = {"bundle": bundle, "state": tmp_path / "state"} | settings
            return stack.enter_context(TestClient(create_app(Settings(**told)), base_url=BASE_URL))

        yield start


@pytest.fixture
def client(open_app: Callable[..., TestClient]) -> TestClient:
    return open_app()


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
    """Upload files and return what was said of each."""
    response = client.post("/api/v1/predictions", files=[("files", file) for file in files], params=query)
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


class Server:
    """The real command in a process of its own."""

    def __init__(self, *options: str, cwd: Path) -> None:
        command = "from pneumonia.app.command import serve; serve()"
        self.log = cwd / "log.jsonl"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", command, "--port", "0", *options], cwd=cwd, stdout=log, stderr=log
            )

    def wait_for_port(self) -> int:
        """Return the port once it listens."""
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
    """Start servers in a folder of their own."""
    started: list[Server] = []

    def start(*options: str) -> Server:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(Server(*options, cwd=folder))
        return started[-1]

    yield start
    for server in started:
        server.stop()
