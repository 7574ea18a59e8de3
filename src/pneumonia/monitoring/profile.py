"""The reference profile of a bundle: what its model says of images that it was never trained on, as the log has it."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd

from pneumonia.errors import MonitoringError
from pneumonia.inference import files
from pneumonia.inference.runtime import Runtime
from pneumonia.monitoring.change import CATEGORIES, LOGGED, ORDERED, PATIENT
from pneumonia.monitoring.record import Answering, Record, record_of

FILE = "monitoring.parquet"
"""Name of the profile in the folder of a bundle."""
FOLDER_OF_RUN = "monitoring"
"""Of its bundle's run in MLflow, with the profile in it."""
MODEL = ("model", "bundle_sha256")
LABEL = "label"
COLUMNS = (*MODEL, *LOGGED, PATIENT, LABEL)


def build(runtime: Runtime, paths: Sequence[Path], patients: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """Ask a model for images, and note what the log would.

    Args:
        runtime: the model.
        paths: of N images.
        patients: of each image; only which images share one is kept.
        labels: of each image, NORMAL or PNEUMONIA.

    Returns:
        `COLUMNS`, a row per image.
    """
    answering = Answering.of(runtime.bundle.card, None)
    records = [
        record_of(answering, said, id=uuid4(), source="reference")
        for batch in files.examine(runtime, map(str, paths), lambda name: Path(name).read_bytes())
        for said in batch
    ]
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
