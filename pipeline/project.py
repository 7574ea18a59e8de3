"""This project as a folder of its own: the DAG and the code, for a demo or a pod, without git and without results."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FILES = ("dvc.yaml", "data.dvc", ".dvcignore")
FOLDERS = ("data", "pipeline", "src")


def copy(folder: Path) -> None:
    """Put DAG, code and dataset definition into a folder; what is there of an earlier copy gives way."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    for name in FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def merged(params: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params with changes laid over them; None takes a key away."""
    laid = dict(params) | {
        key: merged(params.get(key, {}), value) if isinstance(value, Mapping) else value
        for key, value in changes.items()
    }
    return {key: value for key, value in laid.items() if value is not None}


def make_dvc(folder: Path, remote: Mapping[str, Any] | None = None, *, passing: bool = False) -> None:
    """Make a folder a DVC project without git, unless it is one; its default remote is ``remote`` where given.

    Args:
        folder: an existing folder.
        remote: options of the remote, ``url`` among them, as `dvc remote modify` names them.
        passing: the folder will be gone soon; DVC then keeps nothing about it elsewhere.
    """
    from dvc.repo import Repo

    settings_file = folder / ".dvc/config"
    if not settings_file.exists():
        settings_file.parent.mkdir()
        settings_file.write_text("[core]\n    no_scm = true\n", encoding="utf-8")
    with Repo(str(folder)) as repo, repo.config.edit() as settings:
        settings["core"] |= {"analytics": False, "check_update": False, "autostage": False}
        if passing:
            settings["core"]["site_cache_dir"] = str(folder / ".dvc/site")
        if remote is not None:
            settings["core"]["remote"] = "storage"
            settings["remote"] = {"storage": dict(remote)}
