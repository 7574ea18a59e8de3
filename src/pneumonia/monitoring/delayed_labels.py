"""Delayed labels: import them from a CSV file, and list disagreements with the model's decisions.

An import is all or nothing, and idempotent.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args
from uuid import UUID

import pandas as pd

from pneumonia.core.errors import MonitoringError
from pneumonia.core.labels import CLASS_NAMES, POSITIVE
from pneumonia.monitoring.log import Label, LabelValue, Log, Window

REQUIRED = ("id", "label")
OPTIONAL = ("source", "time", "blinded")
DEFAULT_SOURCE = "csv"
"""Source of labels in a file without the column ``source``."""
MAXIMUM_SOURCE_LENGTH = 64
BOOLEANS = {"": False, "no": False, "false": False, "0": False, "yes": True, "true": True, "1": True}
LISTED_ERRORS = 10


@dataclass(frozen=True)
class LabelRow:
    """One row of a label file.

    Attributes:
        line: line number in the file.
        prediction_id: identifier of the prediction.
        label: NORMAL, PNEUMONIA or UNSURE.
        source: origin of the label.
        time: time of the label, UTC; None if the file has none.
        blinded: whether the label was given without seeing the model's answer.
    """

    line: int
    prediction_id: UUID
    label: LabelValue
    source: str
    time: datetime | None
    blinded: bool


@dataclass(frozen=True)
class ImportResult:
    """Result of an import.

    Attributes:
        added: number of labels that were added to the log.
        existing: number of labels of the file that were in the log already.
    """

    added: int
    existing: int


def import_labels(log: Log, file: Path, now: datetime | None = None) -> ImportResult:
    """Add the labels of a CSV file to the log: all of them, or none if the file has any error.

    The columns ``id`` (of the prediction) and ``label`` (NORMAL, PNEUMONIA or UNSURE) are required. Optional are
    ``source`` (such as reader-2 or cultures; never a person's name), ``time`` (ISO 8601, UTC if it has no zone) and
    ``blinded`` (yes or no: given without seeing the model's answer). Other columns are ignored. A label without a time
    gets the time of the import, unless the log has the same label of that source already.

    Args:
        log: the prediction log.
        file: CSV file in UTF-8.
        now: time of the import; by default the current time.

    Raises:
        MonitoringError: the file cannot be read or lacks a column; or a row is invalid, repeats or contradicts another
            row or the log, or refers to a prediction that is not in the log. The message gives the line numbers.
    """
    rows = _read(file)
    stored = log.labels_of([row.prediction_id for row in rows])
    _raise_if_any(file, [*_repeated(rows), *_unknown(rows, log), *_contradicted(rows, stored)])
    existing = {(label.prediction_id, label.source, time) for label in stored for time in (label.time, None)}
    new = [row for row in rows if (row.prediction_id, row.source, row.time) not in existing]
    now = now or datetime.now(UTC)
    log.add_labels([Label(row.prediction_id, row.source, row.time or now, row.label, row.blinded) for row in new])
    return ImportResult(len(new), len(rows) - len(new))


def disagreements(log: Log, window: Window) -> pd.DataFrame:
    """Return the predictions whose label is the other class than the decision, the most confident decision first.

    Decisions that are INDETERMINATE and labels that are UNSURE are left out.

    Returns:
        Columns ``id``, ``time``, ``decision``, ``label``, ``confidence`` (probability of the decided class, 0 to 1),
        ``probability``, ``blinded`` and ``label_source``.
    """
    labelled = log.labelled(window, ["id", "time", "decision", "probability"])
    binary = labelled["decision"].isin(CLASS_NAMES) & labelled["label"].isin(CLASS_NAMES)
    different = labelled[binary & (labelled["decision"] != labelled["label"])]
    confidence = different["probability"].where(different["decision"] == POSITIVE, 1 - different["probability"])
    columns = ["id", "time", "decision", "label", "confidence", "probability", "blinded", "label_source"]
    return different.assign(confidence=confidence).sort_values("confidence", ascending=False, ignore_index=True)[
        columns
    ]


def _read(file: Path) -> list[LabelRow]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines, strict=True)
            _check_header(file, list(table.fieldnames or []))
            lines_with_cells = [(table.line_num, cells) for cells in table]
    except OSError as error:
        raise MonitoringError(f"{file} cannot be read ({error.strerror}). Name a CSV file of labels.") from None
    except UnicodeDecodeError as error:
        raise MonitoringError(
            f"{file} is not in UTF-8 (byte {error.start}: {error.reason}). Save it as CSV UTF-8 and import it again."
        ) from None
    except csv.Error as error:
        raise MonitoringError(f"{file} is not a CSV file ({error}). Save it with comma-separated columns.") from None
    rows: list[LabelRow] = []
    errors: list[str] = []
    for line, cells in lines_with_cells:
        try:
            rows.append(_row(line, {name: (cells.get(name) or "").strip() for name in REQUIRED + OPTIONAL}))
        except ValueError as error:
            errors.append(f"line {line}: {error}")
    _raise_if_any(file, errors)
    if not rows:
        raise MonitoringError(f"{file} has a header but no rows. Add a row for each label.")
    return rows


def _check_header(file: Path, columns: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    duplicates = sorted({name for name in columns if columns.count(name) > 1})
    if missing or duplicates:
        problem = f"no column {' and '.join(missing)}" if missing else f"the column {' and '.join(duplicates)} twice"
        raise MonitoringError(
            f"{file} has {problem}. Expected a header with the columns {','.join(REQUIRED)} and optionally "
            f"{','.join(OPTIONAL)}, comma-separated; found {','.join(columns) or 'an empty file'}."
        )


def _row(line: int, cells: dict[str, str]) -> LabelRow:
    try:
        prediction_id = UUID(cells["id"])
    except ValueError:
        raise ValueError(f"id {cells['id']!r} is not the UUID of a prediction, such as {UUID(int=7)}") from None
    label = next((value for value in get_args(LabelValue) if value == cells["label"]), None)
    if label is None:
        raise ValueError(f"label {cells['label']!r} is not one of {', '.join(get_args(LabelValue))}")
    if len(cells["source"]) > MAXIMUM_SOURCE_LENGTH:
        raise ValueError(f"source has more than {MAXIMUM_SOURCE_LENGTH} characters")
    if cells["blinded"].lower() not in BOOLEANS:
        raise ValueError(f"blinded {cells['blinded']!r} is not yes or no")
    return LabelRow(
        line,
        prediction_id,
        label,
        cells["source"] or DEFAULT_SOURCE,
        _time(cells["time"]),
        BOOLEANS[cells["blinded"].lower()],
    )


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"time {text!r} is not ISO 8601, such as 2026-03-31T14:00:00+02:00") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _repeated(rows: Sequence[LabelRow]) -> Iterator[str]:
    """Yield rows that repeat or contradict an earlier row with the same prediction, source and time."""
    first: dict[tuple[UUID, str, datetime | None], LabelRow] = {}
    for row in rows:
        other = first.setdefault((row.prediction_id, row.source, row.time), row)
        if other is row:
            continue
        if other.label == row.label:
            yield f"line {row.line}: repeats line {other.line} ({row.prediction_id})"
        else:
            yield (
                f"line {row.line}: has {row.label}, line {other.line} has {other.label} ({row.prediction_id}). "
                "Keep one of them; if one corrects the other, give both a time"
            )


def _unknown(rows: Sequence[LabelRow], log: Log) -> Iterator[str]:
    existing = log.existing_ids({row.prediction_id for row in rows})
    for row in rows:
        if row.prediction_id not in existing:
            yield f"line {row.line}: the log has no prediction {row.prediction_id}"


def _contradicted(rows: Sequence[LabelRow], stored: Sequence[Label]) -> Iterator[str]:
    """Yield rows that contradict the log at the same time, or without a time that tells which label is later."""
    labels: dict[tuple[UUID, str], list[Label]] = defaultdict(list)
    for label in stored:
        labels[label.prediction_id, label.source].append(label)
    for row in rows:
        for label in labels[row.prediction_id, row.source]:
            if label.label != row.label and row.time in (None, label.time):
                yield (
                    f"line {row.line}: has {row.label}, the log has {label.label} from {label.source} of "
                    f"{label.time:%Y-%m-%d %H:%M} ({row.prediction_id}). Add the time of the corrected label"
                )


def _raise_if_any(file: Path, errors: Sequence[str]) -> None:
    if errors:
        more = [f"and {len(errors) - LISTED_ERRORS} more"] if len(errors) > LISTED_ERRORS else []
        listed = "\n  ".join([*errors[:LISTED_ERRORS], *more])
        raise MonitoringError(f"{file} has {len(errors)} error(s); nothing was imported:\n  {listed}")
