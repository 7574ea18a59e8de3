"""MLflow stores, local and behind a server, and versions registered in them."""

import itertools
import json
import os
import shutil
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

from pneumonia.bundle import bundle as bundles
from pneumonia.registry import integrity, registration, tracking
from pneumonia.registry.gate import PASS, Criterion
from pneumonia.registry.tracking import RunRecord, Store
from tests.support import bright, evidence, mlflow_store

ROOT = Path(__file__).parents[3]
NAME = "pneumonia-classifier"
DATA = bundles.DataLineage("hospital", "2026", "5e" * 32, {})
METRICS = {"test": {"roc_auc": 0.9, "sensitivity": 0.95, "specificity": 0.8}}
_NUMBERS = itertools.count()


@dataclass
class Registry:
    """The store of a project, and a folder for the bundles and reports that are registered in it."""

    project: Path
    folder: Path

    def __post_init__(self) -> None:
        self.store = tracking.open_store(self.project)

    def register(self, *, data: bundles.DataLineage = DATA, name: str = NAME, **options: Any) -> int:
        """Register a version whose network differs from all others; see `evidence.write` for the options."""
        number = next(_NUMBERS)
        bundle = bright.write_bundle(self.folder / f"bundle-{number}", slope=0.01 + number / 10_000, data=data)
        reports = evidence.write(self.folder / f"reports-{number}", bundle, **options)
        run_id = tracking.record(self.store, RunRecord(bundle, metrics=METRICS))
        return registration.register(self.store, bundle, run_id, name=name, metrics=METRICS, reports=reports)

    def alias(self, alias: str = "champion", name: str = NAME) -> int | None:
        aliases = self.store.client.get_registered_model(name).aliases
        return int(aliases[alias]) if alias in aliases else None


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))  # MLflow adds the code of each model that it loads


@pytest.fixture(scope="session")
def three_versions(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the versions 1 to 3 and no champion; tests work on copies."""
    folder = tmp_path_factory.mktemp("three-versions")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(sys, "path", list(sys.path))
        registry = Registry(mlflow_store.copy(migrated_store, folder / "project"), folder)
        assert [registry.register() for _ in range(3)] == [1, 2, 3]
    return registry.project


@pytest.fixture
def registry(migrated_store: Path, tmp_path: Path) -> Registry:
    """A registry without versions."""
    return _with_settings(Registry(mlflow_store.copy(migrated_store, tmp_path / "project"), tmp_path))


@pytest.fixture
def registered(three_versions: Path, tmp_path: Path) -> Registry:
    """A registry with the versions 1 to 3; 3 is the challenger, and there is no champion."""
    return _with_settings(Registry(mlflow_store.copy(three_versions, tmp_path / "project"), tmp_path))


def _with_settings(registry: Registry) -> Registry:
    for name in ("params.yaml", "operations.yaml"):
        shutil.copyfile(ROOT / name, registry.project / name)
    return registry


@pytest.fixture
def integrity_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the check of the bundle, which starts a process; two tests in test_promotion.py run it."""
    names = (integrity.HASH, integrity.GOLDEN_IMAGES)
    passed = [Criterion(name, PASS, "assumed", "assumed", always=True) for name in names]
    monkeypatch.setattr(integrity, "check", lambda *_: passed)


@pytest.fixture
def server(migrated_store: Path, tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    database = mlflow_store.copy(migrated_store, tmp_path / "server") / "mlruns/mlflow.db"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", f"{tmp_path}/artifacts"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(lambda: _answers(f"{address}/health"), process, tmp_path / "server.log")
        yield address
    finally:
        process.terminate()
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def read_json(store: Store, run_id: str, path: str, folder: Path) -> Any:
    """Read a JSON artifact of a run."""
    folder.mkdir(exist_ok=True)
    return json.loads(Path(store.client.download_artifacts(run_id, path, str(folder))).read_text())
