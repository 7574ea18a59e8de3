"""A running application with a model registry: it follows a promotion, and does not load a damaged bundle."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import requests

from pneumonia.registry import tracking, versions
from pneumonia.registry.tracking import Store
from pneumonia.serving.settings import AppSettings
from tests.support import live
from tests.unit.serving.conftest import NAME

TIMEOUT = 120


def promote(store: Store, version: int) -> None:
    store.client.set_registered_model_alias(NAME, "champion", str(version))


def damage_bundle(store: Store, version: int) -> None:
    logged = store.client.get_logged_model(versions.get(store, NAME, version).source.removeprefix("models:/"))
    (weights,) = Path(logged.artifact_location.removeprefix("file://")).rglob("model.keras")
    weights.write_bytes(b"damaged")


class Reader(threading.Thread):
    """Uploads images without a pause, and records the versions and the failures."""

    def __init__(self, address: str, image: bytes) -> None:
        super().__init__()
        self.address, self.image = address, image
        self.versions: list[int] = []
        self.failures: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                files = {"files": ("1.png", self.image)}
                response = requests.post(f"{self.address}/api/v1/predictions", files=files, timeout=TIMEOUT)
                response.raise_for_status()
                (prediction,) = response.json()["predictions"]
                self.versions.append(prediction["model"]["version"])
            except Exception as error:
                self.failures.append(repr(error))


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_promotion_replaces_the_model_and_a_damaged_bundle_does_not(
    registry_project: Path, radiograph: bytes, tmp_path: Path
) -> None:
    store = tracking.find_store(registry_project)
    assert store is not None
    settings = AppSettings(project=registry_project, state=tmp_path / "state", model_poll_seconds=0.3)
    with live.serving(settings) as address:
        reader = Reader(address, radiograph)
        reader.start()
        try:
            wait_until(lambda: 1 in reader.versions or reader.failures)
            promote(store, 2)
            wait_until(lambda: 2 in reader.versions or reader.failures)
            damage_bundle(store, 1)
            promote(store, 1)
            wait_until(lambda: requests.get(f"{address}/readyz", timeout=TIMEOUT).json()["swap"]["failed"])
            analyzed = len(reader.versions)
            wait_until(lambda: len(reader.versions) > analyzed + 3 or reader.failures)
        finally:
            reader.stopped.set()
            reader.join()
        ready = requests.get(f"{address}/readyz", timeout=TIMEOUT).json()
        details = requests.get(f"{address}/api/v1/model", timeout=TIMEOUT).json()
    assert reader.failures == []
    assert reader.versions == sorted(reader.versions), "never back to version 1"
    assert ready["model"]["version"] == reader.versions[-1] == 2
    assert "model.keras" in ready["swap"]["failed"]
    assert details["model"]["origin"] == f"version 2 of {NAME} (champion)"
    assert details["swap"]["failed"] == ready["swap"]["failed"]
