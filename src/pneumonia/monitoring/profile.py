"""Reference profile of a bundle: its predictions for validation images, which it was not trained on.

`pneumonia monitor` compares logged predictions with it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd

from pneumonia.core import files as atomic_files
from pneumonia.core.errors import MonitoringError
from pneumonia.core.model import FrozenModel
from pneumonia.inference import image_files
from pneumonia.inference.runtime import Runtime
from pneumonia.monitoring.detection import CATEGORIES, LOGGED, NUMERICAL, PATIENT
from pneumonia.monitoring.record import ModelIdentity, PredictionRecord, record_from_file

FILE = "profile.parquet"
"""Name of the profile in the folder of a bundle."""
MLFLOW_FOLDER = "profile"
"""Artifact folder with the profile in the MLflow run of its bundle."""
MODEL = ("model", "bundle_sha256")
LABEL = "label"
COLUMNS = (*MODEL, *LOGGED, PATIENT, LABEL)

Quartiles = tuple[float | None, float | None, float | None]


class ProfileReport(FrozenModel):
    """Summary of a reference profile.

    Attributes:
        model: name of the model in params.yaml.
        bundle_sha256: hash of the model's bundle.
        images: number of images.
        patients: number of patients.
        shares: share of each value, 0 to 1, by categorical column; missing values are left out.
        quartiles: 25th, 50th and 75th percentile by numerical column; None where the column is empty.
    """

    model: str
    bundle_sha256: str
    images: int
    patients: int
    shares: dict[str, dict[str, float]]
    quartiles: dict[str, Quartiles]


def build(runtime: Runtime, paths: Iterable[Path], patients: Iterable[str], labels: Iterable[str]) -> pd.DataFrame:
    """Return the reference profile of one model.

    The same model and files give the same table: it has no identifiers, times and paths.

    Args:
        runtime: the model.
        paths: N image files.
        patients: patient of each image; the profile keeps a number instead.
        labels: class of each image, NORMAL or PNEUMONIA.

    Returns:
        `COLUMNS`, one row per image.
    """
    identity = ModelIdentity.of(runtime.bundle.card, None)
    records = [
        record_from_file(identity, result, id=UUID(int=0), source="reference")
        for batch in image_files.examine(runtime, map(str, paths), lambda name: Path(name).read_bytes())
        for result in batch
    ]
    table = to_frame(records)
    table[PATIENT], table[LABEL] = pd.factorize(np.asarray(list(patients)))[0], list(labels)
    return table[list(COLUMNS)]


def to_frame(records: Sequence[PredictionRecord]) -> pd.DataFrame:
    """Return the columns `MODEL` and `LOGGED` of records, in the types of `Log.window`."""
    table = pd.DataFrame([vars(record) for record in records], columns=[*MODEL, *LOGGED])
    return table.astype(dict.fromkeys((*MODEL, *CATEGORIES), "str") | dict.fromkeys(NUMERICAL, "float64"))


def summarise(table: pd.DataFrame) -> ProfileReport:
    """Return the summary of a reference profile."""
    quartiles = table[list(NUMERICAL)].quantile([0.25, 0.5, 0.75]).round(3)
    return ProfileReport(
        model=table["model"].iloc[0],
        bundle_sha256=table["bundle_sha256"].iloc[0],
        images=len(table),
        patients=int(table[PATIENT].nunique()),
        shares={
            column: {str(value): round(float(share), 4) for value, share in table[column].value_counts(True).items()}
            for column in CATEGORIES
        },
        quartiles={column: _three(quartiles[column]) for column in NUMERICAL},
    )


def write(table: pd.DataFrame, file: Path) -> None:
    """Write a reference profile as Parquet; the same table gives the same bytes."""
    atomic_files.write_bytes(file, table.to_parquet(index=False))


def read(file: Path) -> pd.DataFrame:
    """Read a reference profile.

    Raises:
        MonitoringError: the file is missing, is not Parquet, or lacks a column of `COLUMNS`.
    """
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise MonitoringError(
            f"expected the reference profile of a model in {file}, which cannot be read ({error}). "
            "`dvc repro profile` writes artifacts/profiles/<model>.parquet; name such a file (--reference)."
        ) from None
    if missing := [column for column in COLUMNS if column not in table]:
        raise MonitoringError(
            f"{file} is not a reference profile of this version: it lacks the columns {', '.join(missing)}. "
            "Run `dvc repro profile`."
        )
    return table


def _three(values: pd.Series) -> Quartiles:
    first, second, third = (None if pd.isna(value) else float(value) for value in values)
    return first, second, third
