"""MLflow stores, local and behind a server, and versions registered in them."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pneumonia import tracking
from pneumonia.models import bundle as bundles
from pneumonia.registry import registration
from pneumonia.tracking import RunDescription, Store
from tests import bright, evidence

NAME = "pneumonia-classifier"
DATA = bundles.DataLineage("hospital", "2026", "5e" * 32, {})


@dataclass
class Registry:
    """A store, and the folder that versions are made in."""

    store: Store
    folder: Path

    def register(self, *, data: bundles.DataLineage = DATA, name: str = NAME, **evidence_: Any) -> int:
        """Train and register a version, different from all before."""
        number = len(list(self.folder.iterdir())) + 1
        home = self.folder / str(number)
        slope = 0.01 + number / 1000
        description = RunDescription("bright", "cnn", data, {"slope": slope}, "c0ffee")
        with tracking.start_run(self.store, description) as run:
            bundle = bright.write_bundle(home / "bundle", slope=slope, data=data, mlflow_run_id=run.run_id)
            run.log_bundle(bundle)
        reports = evidence.write(home / "reports", bundle, **evidence_)
        metrics = {"test": {"roc_auc": 0.9, "sensitivity": 0.95, "specificity": 0.8}}
        return registration.register(self.store, bundle, run.run_id, name=name, metrics=metrics, reports=reports)

    def alias(self, alias: str = "champion", name: str = NAME) -> int | None:
        held = self.store.client.get_registered_model(name).aliases
        return int(held[alias]) if alias in held else None


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))  # MLflow adds the code of each model that it loads


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry in a SQLite store of its own."""
    (tmp_path / "versions").mkdir()
    return Registry(tracking.open_store(tmp_path / "project"), tmp_path / "versions")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        f"{tmp_path}/server",
    ]
    command += ["--workers", "1"]
    with (tmp_path / "server.log").open("w") as log:
        running = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(lambda: _answers(f"{address}/health"), running, tmp_path / "server.log")
        yield address
    finally:
        running.terminate()
        running.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _wait_for(condition: Callable[[], bool], running: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert running.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def read_json(store: Store, run_id: str, path: str, folder: Path) -> Any:
    """Read a JSON artifact of a run."""
    folder.mkdir(exist_ok=True)
    return json.loads(Path(store.client.download_artifacts(run_id, path, str(folder))).read_text())
