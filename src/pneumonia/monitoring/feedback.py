"""Labels that come later, as a CSV: from a reader's list, a register, or a follow-up.

A file is taken whole or not at all, and taking it twice changes nothing.
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

from pneumonia.errors import MonitoringError
from pneumonia.labels import CLASS_NAMES
from pneumonia.monitoring.log import Label, Log, Verdict, Window

REQUIRED = ("id", "label")
OPTIONAL = ("source", "time", "blinded")
SOURCE = "csv"
"""Where a label comes from if the file does not say."""
MOST_SOURCE = 64
YES_OR_NO = {"": False, "no": False, "false": False, "0": False, "yes": True, "true": True, "1": True}
MOST_FAULTS = 10


@dataclass(frozen=True)
class Row:
    """One line of a file of labels; ``time`` is None where the file gives none."""

    line: int
    prediction_id: UUID
    label: Verdict
    source: str
    time: datetime | None
    blinded: bool


@dataclass(frozen=True)
class Imported:
    """How many labels a file added to the log, and how many of its labels were there already."""

    added: int
    known: int


def import_file(log: Log, file: Path, now: datetime | None = None) -> Imported:
    """Add the labels of a CSV file to the log: all of them, or none where anything is wrong with the file.

    The columns ``id`` (of the prediction) and ``label`` (NORMAL, PNEUMONIA or UNSURE) are needed; ``source`` (such as
    reader-2 or cultures; never a person's name), ``time`` (ISO 8601, UTC where it names no zone) and ``blinded``
    (yes or no: given without seeing the model's answer) may be left out, and any other column is not looked at. A
    label without a time has that of the import, unless the log holds the same label of that source already.

    Raises:
        MonitoringError: the file cannot be read, or has other columns; a row is not understood, repeats or
            contradicts another one or the log, or names a prediction that the log does not hold. Lines are named.
    """
    rows = _read(file)
    stored = log.labels_of([row.prediction_id for row in rows])
    _refuse(file, [*_repeated(rows), *_unknown(rows, log), *_contradicted(rows, stored)])
    known = {(label.prediction_id, label.source, time) for label in stored for time in (label.time, None)}
    new = [row for row in rows if (row.prediction_id, row.source, row.time) not in known]
    when = now or datetime.now(UTC)
    log.add_labels([Label(row.prediction_id, row.source, row.time or when, row.label, row.blinded) for row in new])
    return Imported(len(new), len(rows) - len(new))


def disagreements(log: Log, window: Window) -> pd.DataFrame:
    """List the predictions whose label is the other class than the decision, the most confident decision first.

    Answers that were left open (INDETERMINATE) and labels that are UNSURE do not disagree with anything.

    Returns:
        Columns ``id``, ``time``, ``decision``, ``label``, ``confidence`` (probability of what was decided, 0 to 1),
        ``probability``, ``blinded`` and ``label_source``.
    """
    found = log.labelled(window, ["id", "time", "decision", "probability"])
    decided = found["decision"].isin(CLASS_NAMES) & found["label"].isin(CLASS_NAMES)
    apart = found[decided & (found["decision"] != found["label"])]
    confidence = apart["probability"].where(apart["decision"] == "PNEUMONIA", 1 - apart["probability"])
    columns = ["id", "time", "decision", "label", "confidence", "probability", "blinded", "label_source"]
    return apart.assign(confidence=confidence).sort_values("confidence", ascending=False, ignore_index=True)[columns]


def _read(file: Path) -> list[Row]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines, strict=True)
            _check_header(file, list(table.fieldnames or []))
            found = [(table.line_num, cells) for cells in table]
    except OSError as error:
        raise MonitoringError(f"{file} cannot be read ({error.strerror}). Name a CSV file of labels.") from None
    except UnicodeDecodeError as error:
        raise MonitoringError(
            f"{file} is not in UTF-8 (byte {error.start}: {error.reason}). Save it as CSV UTF-8 and import it again."
        ) from None
    except csv.Error as error:
        raise MonitoringError(
            f"{file} is not a CSV file ({error}). Save it with commas between the columns."
        ) from None
    rows: list[Row] = []
    faults: list[str] = []
    for line, cells in found:
        try:
            rows.append(_row(line, {name: (cells.get(name) or "").strip() for name in REQUIRED + OPTIONAL}))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    _refuse(file, faults)
    if not rows:
        raise MonitoringError(f"{file} holds no label, only a header. Add a row for each prediction.")
    return rows


def _check_header(file: Path, columns: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if missing or twice:
        fault = f"no column {' and '.join(missing)}" if missing else f"the column {' and '.join(twice)} twice"
        raise MonitoringError(
            f"{file} has {fault}. Expected a first line with {','.join(REQUIRED)} and, where known, "
            f"{','.join(OPTIONAL)}, with commas between them; found {','.join(columns) or 'an empty file'}."
        )


def _row(line: int, cells: dict[str, str]) -> Row:
    try:
        prediction_id = UUID(cells["id"])
    except ValueError:
        raise ValueError(f"id {cells['id']!r} is not that of a prediction, such as {UUID(int=7)}") from None
    label = next((verdict for verdict in get_args(Verdict) if verdict == cells["label"]), None)
    if label is None:
        raise ValueError(f"label {cells['label']!r} is none of {', '.join(get_args(Verdict))}")
    if len(cells["source"]) > MOST_SOURCE:
        raise ValueError(f"source has more than {MOST_SOURCE} letters")
    if cells["blinded"].lower() not in YES_OR_NO:
        raise ValueError(f"blinded {cells['blinded']!r} is neither yes nor no")
    return Row(
        line,
        prediction_id,
        label,
        cells["source"] or SOURCE,
        _time(cells["time"]),
        YES_OR_NO[cells["blinded"].lower()],
    )


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"time {text!r} is not ISO 8601, such as 2026-03-31T14:00:00+02:00") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _repeated(rows: Sequence[Row]) -> Iterator[str]:
    """Find what stands twice: of one source and time, a prediction has one label."""
    first: dict[tuple[UUID, str, datetime | None], Row] = {}
    for row in rows:
        other = first.setdefault((row.prediction_id, row.source, row.time), row)
        if other is row:
            continue
        if other.label == row.label:
            yield f"line {row.line}: repeats line {other.line} ({row.prediction_id})"
        else:
            yield (
                f"line {row.line}: says {row.label}, line {other.line} says {other.label} ({row.prediction_id}). "
                "Keep one; where one mends the other, give each its time"
            )


def _unknown(rows: Sequence[Row], log: Log) -> Iterator[str]:
    known = log.known({row.prediction_id for row in rows})
    for row in rows:
        if row.prediction_id not in known:
            yield f"line {row.line}: the log holds no prediction {row.prediction_id}"


def _contradicted(rows: Sequence[Row], stored: Sequence[Label]) -> Iterator[str]:
    """Find what the log knows otherwise: at the same time, or with nothing that says which is later."""
    labels: dict[tuple[UUID, str], list[Label]] = defaultdict(list)
    for label in stored:
        labels[label.prediction_id, label.source].append(label)
    for row in rows:
        for label in labels[row.prediction_id, row.source]:
            if label.label != row.label and row.time in (None, label.time):
                yield (
                    f"line {row.line}: says {row.label}, the log has {label.label} from {label.source} of "
                    f"{label.time:%Y-%m-%d %H:%M} ({row.prediction_id}). Give the label the time from when it holds"
                )


def _refuse(file: Path, faults: Sequence[str]) -> None:
    if faults:
        more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        listed = "\n  ".join([*faults[:MOST_FAULTS], *more])
        raise MonitoringError(f"{file} has {len(faults)} fault(s), and nothing was imported:\n  {listed}")
