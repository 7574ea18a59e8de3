"""Copies of this project in other folders, for a demo or a pod: definition and code, without git and results."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FILES = ("dvc.yaml", "operations.yaml", "data.dvc", ".dvcignore")
FOLDERS = ("data", "pipeline", "src")


def copy(folder: Path) -> None:
    """Copy DAG, code and dataset definition into a folder; an earlier copy is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    for name in FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def merged(params: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return params with changes merged in, section by section; None removes a key.

    Examples:
        >>> merged({"prepare": {"size": 224}, "split": {"seed": 42}}, {"prepare": {"size": 64}, "split": None})
        {'prepare': {'size': 64}}
    """
    result = dict(params) | {
        key: merged(params.get(key, {}), value) if isinstance(value, Mapping) else value
        for key, value in changes.items()
    }
    return {key: value for key, value in result.items() if value is not None}


def make_dvc(folder: Path, remote: Mapping[str, Any] | None = None, *, temporary: bool = False) -> None:
    """Make a folder a DVC project without git, unless it is one already, and set its default remote.

    Args:
        folder: existing folder.
        remote: options of the default remote, as `dvc remote modify` names them, with ``url``; None keeps the remote.
        temporary: whether the folder will be deleted; DVC then keeps no files about it outside of the folder.
    """
    from dvc.repo import Repo

    config = folder / ".dvc/config"
    if not config.exists():
        config.parent.mkdir()
        config.write_text("[core]\n    no_scm = true\n", encoding="utf-8")
    with Repo(str(folder)) as repo, repo.config.edit() as settings:
        settings["core"] |= {"analytics": False, "check_update": False, "autostage": False}
        if temporary:
            settings["core"]["site_cache_dir"] = str(folder / ".dvc/site")
        if remote is not None:
            settings["core"]["remote"] = "storage"
            settings["remote"] = {"storage": dict(remote)}
