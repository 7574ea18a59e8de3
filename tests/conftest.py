"""Fixtures of all tests: the real radiographs, if available, and databases."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from xdist.scheduler import LoadScopeScheduling

import pipeline  # noqa: F401  (the environment that stages run in: quiet and deterministic)
from tests.support import mlflow_store

# Parallel test workers share the cores: with one thread each, scikit-learn trains small models 16 times as fast.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests start many processes on the same code: compile it once.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""


# Files whose tests take longest start first, so that no worker is left with them at the end.
FIRST = ("tests/e2e/", "tests/unit/training/", "tests/pipeline/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((i for i, folder in enumerate(FIRST) if item.nodeid.startswith(folder)), 9))


class OneWorkerPerSharedFixture(LoadScopeScheduling):
    """Run the tests of a file in one worker, and all tests on the finished project in one: fixtures are made once.

    pytest-xdist has this as ``--dist loadgroup``, which pytest 9.2 silently ignores (xdist 3.8).
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "project" if file.startswith("tests/e2e/") and "kubeflow" not in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneWorkerPerSharedFixture:
    return OneWorkerPerSharedFixture(config, log)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder with the archives of the real radiographs; tests that need it are skipped elsewhere."""
    folder = os.environ.get("PNEUMONIA_MIRROR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PNEUMONIA_MIRROR names no folder with the real radiographs")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server for these tests, on a socket in a temporary folder."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda folder: int(folder.parent.name))
    if programs is None:
        pytest.skip("PostgreSQL is not installed; on a new machine `make test` installs it")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    process: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        process["user"] = "postgres"
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"], check=True, **process
    )
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    try:
        subprocess.run([programs / "pg_ctl", "-D", data, "-o", options, "-w", "start"], check=True, **process)
        yield f"postgresql://postgres@/postgres?host={folder}"
        subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=True, **process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an empty MLflow store; `mlflow_store.copy` it instead of creating the schema in every test."""
    workers = tmp_path_factory.getbasetemp()
    return mlflow_store.migrated(workers.parent if "PYTEST_XDIST_WORKER" in os.environ else workers)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state' / 'predictions.db'}"
    server: str = request.getfixturevalue("postgres")
    name = f"d{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")
