"""The reference profile of a bundle: what its model says of images that it was never trained on, as the log has it."""

import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pneumonia.errors import ImageError, MonitoringError
from pneumonia.inference import intake as intakes
from pneumonia.inference.intake import Intake, Limits
from pneumonia.inference.runtime import AT_ONCE, Runtime
from pneumonia.models.bundle import Bundle
from pneumonia.monitoring.change import CATEGORIES, LOGGED, ORDERED, PATIENT
from pneumonia.monitoring.record import Answering, Record, record

FILE = "monitoring.parquet"
"""Name of the profile in the folder of a bundle."""
MODEL = ("model", "bundle_sha256")
LABEL = "label"
COLUMNS = (*MODEL, *LOGGED, PATIENT, LABEL)
LIMITS = Limits(bytes=64 * 2**20, pixels=50_000_000)
"""As the application's."""


def build(runtime: Runtime, files: Sequence[Path], patients: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """Ask a model for images, and note what the log would.

    Args:
        runtime: the model.
        files: N images.
        patients: of each image; only which images share one is kept.
        labels: of each image, NORMAL or PNEUMONIA.

    Returns:
        `COLUMNS`, a row per image.
    """
    answering = Answering.of(runtime.bundle.card, None)
    records: list[Record] = []
    for start in range(0, len(files), AT_ONCE):
        records += _records(runtime, answering, files[start : start + AT_ONCE])
    numbers, _ = pd.factorize(np.asarray(patients))
    table = frame(records)
    table[PATIENT], table[LABEL] = numbers, list(labels)
    return table[list(COLUMNS)]


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return records as the columns that `Log.window` gives."""
    table = pd.DataFrame([vars(each) for each in records], columns=[*MODEL, *LOGGED])
    return table.astype(dict.fromkeys((*MODEL, *CATEGORIES), "str") | dict.fromkeys(ORDERED, "float64"))


def read(file: Path) -> pd.DataFrame:
    """Read a profile.

    Raises:
        MonitoringError: there is none, or the file holds something else.
    """
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise MonitoringError(
            f"expected the reference profile of a model in {file}, which cannot be read ({error}). "
            "`dvc repro monitor` writes artifacts/monitor/<model>.parquet; name one (--reference)."
        ) from None
    if missing := [column for column in COLUMNS if column not in table]:
        raise MonitoringError(
            f"{file} is no reference profile of this release: it lacks {', '.join(missing)}. Run `dvc repro monitor`."
        )
    return table


def find(bundle: Bundle, project: Path) -> Path:
    """Return the profile of a bundle: beside it, or in the ``artifacts/monitor`` of a project.

    Raises:
        MonitoringError: neither is there.
    """
    beside, of_stage = bundle.folder / FILE, project / "artifacts" / "monitor" / f"{bundle.card.name}.parquet"
    for file in (beside, of_stage):
        if file.is_file() and set(read(file)["bundle_sha256"]) == {bundle.card.model_sha256}:
            return file
    raise MonitoringError(
        f"expected the reference profile of {bundle.card.name} in {beside} or {of_stage}, found none of this model. "
        "Run `dvc repro monitor`, or name one (--reference)."
    )


def _records(runtime: Runtime, answering: Answering, files: Sequence[Path]) -> list[Record]:
    intakes_ = [_take_in(file, runtime.bundle.card.image_size) for file in files]
    refusals = [intakes.refuse(intake) if intake else None for intake in intakes_]
    asked = [intake for intake, refusal in zip(intakes_, refusals, strict=True) if intake and not refusal]
    readings = iter(runtime.run(np.stack([intake.square for intake in asked])) if asked else ())
    records = []
    for intake, refusal in zip(intakes_, refusals, strict=True):
        reading = next(readings) if intake and not refusal else None
        why = refusal or (reading.refusal if reading else None)
        code = "unreadable" if intake is None else why.code if why else None
        records.append(record(answering, intake, reading, code, id=uuid.uuid4(), source="reference", latency_ms=None))
    return records


def _take_in(file: Path, size: int) -> Intake | None:
    try:
        return intakes.take_in(file.read_bytes(), size, LIMITS)
    except ImageError:
        return None
