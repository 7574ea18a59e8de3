"""One finished phantom project, shared by all end-to-end tests of all workers."""

from pathlib import Path

import pytest
from filelock import FileLock

from tests.support import project
from tests.support.project import Project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """A project in git whose whole pipeline has run and is committed; the first worker that needs it runs it.

    Tests only read it. Tests that change a project use `copy`.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    folder, done = shared / "finished", shared / "finished.done"
    with FileLock(shared / "finished.lock"):
        if not done.exists():
            made = project.create(folder)
            made.dvc("repro")
            made.run("git", "add", ".")
            made.run("git", "commit", "-q", "-m", "First results")
            done.touch()
    return Project(folder)


@pytest.fixture
def copy(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project that a test may change."""
    return finished.copy(tmp_path / "copy")
