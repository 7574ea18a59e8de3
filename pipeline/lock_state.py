"""How dvc.lock fits the working tree, as `dvc status` has it: results that are stale, results that were edited."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pneumonia.errors import EvidenceError
from pneumonia.evaluation.changes_report import Lock


def read() -> Lock:
    """Compare dvc.lock with code, parameters, data and results in the current folder.

    Whatever git ignores (artifacts/, the MLflow store) is left aside: where nothing was pulled it is missing, and
    that makes no result stale.

    Raises:
        EvidenceError: DVC cannot tell.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EvidenceError(f"`dvc status` failed: {done.stderr.strip()}. Mend dvc.yaml and dvc.lock, then run again.")
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
    return Lock(stale={stage: reasons for stage, reasons in stale.items() if reasons}, edited=sorted(edited))


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
    """Return whether this is no stage but files that people write and pin, as data.dvc does."""
    return stage.endswith(".dvc")


def _changed(changes: Iterable[Any], kind: str) -> dict[str, Any]:
    """Return what changed by path: a word, or of a params file what became of each key."""
    return {
        path: what for change in changes if isinstance(change, Mapping) for path, what in change.get(kind, {}).items()
    }


def _paths(changes: Iterable[Any]) -> set[str]:
    return {*_changed(changes, "changed deps"), *_changed(changes, "changed outs")}


def _ignored(paths: set[str]) -> set[str]:
    """Return those of the paths that git ignores."""
    done = subprocess.run(
        ["git", "check-ignore", "--stdin", "-z"], input="\0".join(paths), capture_output=True, text=True, check=False
    )
    return set(done.stdout.split("\0"))
