"""Context of a pull-request report: the compared commits, and the state of dvc.lock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pneumonia.reports.project_state import Flat


@dataclass(frozen=True)
class ReportContext:
    """The compared commits.

    Attributes:
        base: the base, for readers.
        change: the change, for readers.
        data: values of the change's reports on the images.
        notes: on the comparison as a whole.
    """

    base: str
    change: str
    data: Flat
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class LockState:
    """Differences between dvc.lock and the results in git.

    Attributes:
        stale: by stage, what has changed since its results were made.
        edited: results in git that differ from those recorded in dvc.lock.
    """

    stale: Mapping[str, Sequence[str]]
    edited: Sequence[str]
