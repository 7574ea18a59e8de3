"""MLflow stores for tests, copied from a migrated one: creating the schema takes seconds, a copy does not."""

import shutil
import sqlite3
from pathlib import Path

from filelock import FileLock

from pneumonia.registry import address


def migrated(folder: Path) -> Path:
    """Return a project whose store has the current schema and no experiment of this package; created once per folder.

    Args:
        folder: shared by all processes that run tests.
    """
    project = folder / "migrated-store"
    database = project / address.DATABASE
    with FileLock(f"{folder / 'migrated-store.lock'}"):
        if not database.is_file():
            from pneumonia.registry import tracking  # configures MLflow's logging before MLflow is imported

            database.parent.mkdir(parents=True, exist_ok=True)
            unfinished = database.with_suffix(".new")
            tracking.MlflowClient(f"sqlite:///{unfinished}").search_experiments()
            unfinished.rename(database)
    return project


def copy(project: Path, target: Path) -> Path:
    """Copy the store of a project, with all artifacts, to another project, and return that.

    MLflow keeps absolute addresses of artifacts; those of the copy point into the copy. The addresses that MLflow has
    cached in this process, by the ids that the copy shares with the original, are forgotten.
    """
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()
    shutil.copytree(project / "mlruns", target / "mlruns", ignore=shutil.ignore_patterns("*.lock"))
    database = sqlite3.connect(target / address.DATABASE)
    with database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                if kind.upper().startswith(("VARCHAR", "TEXT")):
                    database.execute(
                        f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)',
                        (str(project.resolve()), str(target.resolve()), str(project.resolve())),
                    )
    database.close()
    return target
