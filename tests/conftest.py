"""What all tests share: the real radiographs, where they are at hand, and databases."""

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

import pipeline  # noqa: F401  (the environment that stages run in: quiet and deterministic)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder with the archives of the real radiographs; tests that need it are skipped elsewhere."""
    folder = os.environ.get("PNEUMONIA_MIRROR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PNEUMONIA_MIRROR names no folder with the real radiographs")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of its own, on a socket in a folder of its own."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda folder: int(folder.parent.name))
    if programs is None:
        pytest.skip("PostgreSQL is not installed; on a new machine `make test` installs it")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    told: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        told["user"] = "postgres"
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"], check=True, **told
    )
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    try:
        subprocess.run([programs / "pg_ctl", "-D", data, "-o", options, "-w", "start"], check=True, **told)
        yield f"postgresql://postgres@/postgres?host={folder}"
        subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=True, **told)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
