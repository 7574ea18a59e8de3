"""The real service over a real registry: a promotion reaches it while people work, and a broken one does not."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pneumonia import tracking
from pneumonia.models import bundle as bundles
from pneumonia.registry import registration, versions
from pneumonia.tracking import RunDescription, Store
from tests import bright, evidence
from tests.app.conftest import Server

PROJECT = Path(__file__).parents[2]
NAME = "pneumonia-classifier"
DATA = bundles.DataLineage("phantom", "", "5e" * 32, {})
PATIENCE = 120


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three versions in its registry, the first of them the champion."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))  # MLflow adds the code of each model that it loads
    root = tmp_path / "project"
    root.mkdir()
    shutil.copyfile(PROJECT / "params.yaml", root / "params.yaml")
    store = tracking.open_store(root)
    for slope in (0.01, 0.02, 0.03):
        with tracking.start_run(store, RunDescription("bright", "cnn", DATA, {"slope": slope}, None)) as run:
            told: dict[str, Any] = {"slope": slope, "data": DATA, "mlflow_run_id": run.run_id}
            bundle = bright.write_bundle(root / f"bundle-{slope}", **told)
            run.log_bundle(bundle)
        reports = evidence.write(root / f"reports-{slope}", bundle)
        registration.register(store, bundle, run.run_id, name=NAME, metrics={}, reports=reports)
    promote(store, 1)
    return root


def promote(store: Store, version: int) -> None:
    store.client.set_registered_model_alias(NAME, "champion", str(version))


def break_bundle(store: Store, version: int) -> None:
    logged = store.client.get_logged_model(versions.get(store, NAME, version).source.removeprefix("models:/"))
    (weights,) = Path(logged.artifact_location.removeprefix("file://")).rglob("model.keras")
    weights.write_bytes(b"broken")


@pytest.fixture
def server(project: Path) -> Iterator[Server]:
    started = Server(cwd=project)
    yield started
    started.stop()


class Readers(threading.Thread):
    """Sends images without a pause, and notes which version answered and what failed."""

    def __init__(self, address: str, image: bytes) -> None:
        super().__init__()
        self.address, self.image = address, image
        self.versions: list[int] = []
        self.failures: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                files = {"files": ("1.png", self.image)}
                response = requests.post(f"{self.address}/api/v1/predictions", files=files, timeout=PATIENCE)
                response.raise_for_status()
                (said,) = response.json()["predictions"]
                self.versions.append(said["model"]["version"])
            except Exception as error:
                self.failures.append(repr(error))


def wait_until(holds: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_promotion_reaches_the_service_and_a_broken_bundle_does_not(
    project: Path, server: Server, radiograph: bytes
) -> None:
    address = f"http://127.0.0.1:{server.wait_for_port()}"
    store = tracking.find_store(project)
    assert store is not None
    readers = Readers(address, radiograph)
    readers.start()
    try:
        wait_until(lambda: 1 in readers.versions or readers.failures)
        promote(store, 2)
        wait_until(lambda: 2 in readers.versions or readers.failures)
        break_bundle(store, 3)
        promote(store, 3)
        wait_until(lambda: requests.get(f"{address}/readyz", timeout=PATIENCE).json()["swap"]["failed"])
        answered = len(readers.versions)
        wait_until(lambda: len(readers.versions) > answered + 3 or readers.failures)
    finally:
        readers.ended.set()
        readers.join()
    ready = requests.get(f"{address}/readyz", timeout=PATIENCE).json()
    assert readers.failures == []
    assert readers.versions == sorted(readers.versions), "never back to an older one"
    assert ready["model"]["version"] == readers.versions[-1] == 2
    assert "model.keras" in ready["swap"]["failed"]
    told = requests.get(f"{address}/api/v1/model", timeout=PATIENCE).json()
    assert told["model"]["origin"] == f"version 2 of {NAME} (champion)"
    assert told["swap"]["failed"] == ready["swap"]["failed"]
