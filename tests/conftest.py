"""What all tests share: the real radiographs, where they are at hand."""

import os
from pathlib import Path

import pytest

import pipeline  # noqa: F401  (the environment that stages run in: quiet and deterministic)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder with the archives of the real radiographs; tests that need it are skipped elsewhere."""
    folder = os.environ.get("PNEUMONIA_MIRROR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PNEUMONIA_MIRROR names no folder with the real radiographs")
    return Path(folder).resolve()
