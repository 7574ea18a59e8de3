"""Compare dvc.lock with the working tree by `dvc status`: stale stages and edited results."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pneumonia.core.errors import EvidenceError
from pneumonia.reports.report_context import LockState


def read() -> LockState:
    """Compare dvc.lock with code, parameters, data and results in the current folder.

    Files that git ignores (artifacts/, the MLflow store) are not considered: they may be missing because nothing was
    pulled, which makes no result stale.

    Raises:
        EvidenceError: `dvc status` failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EvidenceError(f"`dvc status` failed: {done.stderr.strip()}. Fix dvc.yaml and dvc.lock, then run again.")
    status: dict[str, list[Any]] = json.loads(done.stdout)
    ignored = _ignored({path for changes in status.values() for path in _paths(changes)})
    stale = {stage: list(_reasons(stage, changes, ignored)) for stage, changes in status.items()}
    edited = {
        path
        for stage, changes in status.items()
        if not _is_pinned(stage)
        for path in _changed(changes, "changed outs")
        if path not in ignored
    }
    return LockState(stale={stage: reasons for stage, reasons in stale.items() if reasons}, edited=sorted(edited))


def _reasons(stage: str, changes: Iterable[Any], ignored: set[str]) -> Iterator[str]:
    if "changed command" in changes:
        yield "its command in dvc.yaml"
    if _is_pinned(stage):
        yield from _changed(changes, "changed outs")
    for path, what in _changed(changes, "changed deps").items():
        if isinstance(what, Mapping):
            yield from what
        elif path not in ignored:
            yield path


def _is_pinned(stage: str) -> bool:
    """Return whether the name is that of a .dvc file, which pins files that no stage makes."""
    return stage.endswith(".dvc")


def _changed(changes: Iterable[Any], kind: str) -> dict[str, Any]:
    """Return the changes by path: a word, or for a params file a word per key."""
    return {
        path: what for change in changes if isinstance(change, Mapping) for path, what in change.get(kind, {}).items()
    }


def _paths(changes: Iterable[Any]) -> set[str]:
    return {*_changed(changes, "changed deps"), *_changed(changes, "changed outs")}


def _ignored(paths: set[str]) -> set[str]:
    """Return the paths that git ignores."""
    done = subprocess.run(
        ["git", "check-ignore", "--stdin", "-z"], input="\0".join(paths), capture_output=True, text=True, check=False
    )
    return set(done.stdout.split("\0"))
