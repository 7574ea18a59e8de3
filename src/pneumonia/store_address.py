"""Where the MLflow store is; told without MLflow, whose import takes seconds."""

import os
from pathlib import Path

DATABASE = Path("mlruns/mlflow.db")
_SQLITE = "sqlite:///"


def tracking_uri(root: Path) -> str:
    """Return ``MLFLOW_TRACKING_URI`` where it is set, else the URI of ``<root>/mlruns/mlflow.db``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{root.resolve() / DATABASE}"


def database(uri: str) -> Path | None:
    """Return the SQLite file of a store, None for a server."""
    return Path(uri.removeprefix(_SQLITE).split("?")[0]).resolve() if uri.startswith(_SQLITE) else None


def exists(uri: str) -> bool:
    """Return whether there is a store; of a server it is taken for granted."""
    file = database(uri)
    return file is None or file.is_file()
