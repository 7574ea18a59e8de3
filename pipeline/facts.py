"""The header facts of the images in use, as the stages that judge need them."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.data.facts import header_facts
from pneumonia.images import aspect
from pneumonia.images.store import ImageStore
from pneumonia.labels import CLASS_NAMES, target

MANIFEST = Path("artifacts/manifest.parquet")
PUBLISHED = Path("data/kermany-files.csv")


def of(data: ImageStore) -> pd.DataFrame:
    """Return the facts of all images of the store in its order; for the published dataset those of its own files."""
    manifest = pd.read_parquet(MANIFEST).set_index("path").loc[data.index["path"]].reset_index()
    return header_facts(manifest, PUBLISHED if data.source == "kermany" else None)


def swapped_validation(data: ImageStore, facts: pd.DataFrame) -> NDArray[np.uint8]:
    """Return the validation images (N, size, size) of each class in the shape that is typical of the other class."""
    rows = data.rows("validation")
    targets = data.index["label"].iloc[rows].map(target).to_numpy(int)
    return aspect.swap(data.images[rows], targets, _typical_aspects(data, facts))


def _typical_aspects(data: ImageStore, facts: pd.DataFrame) -> tuple[float, float]:
    """Return the median width / height of the development files of NORMAL and of PNEUMONIA."""
    development = data.index[data.index["subset"] != "test"]
    median = facts.loc[development["path"], "aspect"].groupby(development["label"].to_numpy()).median()
    normal, pneumonia = (float(median[label]) for label in CLASS_NAMES)
    return normal, pneumonia
