"""Locate the MLflow store without importing MLflow, whose import takes seconds."""

import os
from pathlib import Path

DATABASE = Path("mlruns/mlflow.db")
"""SQLite file of a project's own store, relative to the project's root."""
_SQLITE = "sqlite:///"


def tracking_uri(root: Path) -> str:
    """Return ``MLFLOW_TRACKING_URI`` if it is set, otherwise the URI of ``<root>/mlruns/mlflow.db``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{root.resolve() / DATABASE}"


def database(uri: str) -> Path | None:
    """Return the SQLite file of a tracking URI, or None for a server.

    Examples:
        >>> database("sqlite:////project/mlruns/mlflow.db").as_posix()
        '/project/mlruns/mlflow.db'
        >>> database("http://mlflow:5000") is None
        True
    """
    return Path(uri.removeprefix(_SQLITE).split("?")[0]).resolve() if uri.startswith(_SQLITE) else None


def exists(uri: str) -> bool:
    """Return whether the store exists. A server is assumed to exist; it is not contacted."""
    file = database(uri)
    return file is None or file.is_file()
