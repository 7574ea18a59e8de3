"""Subgroups of the images, to see for whom a model works: by cause, by image size, by how the file was made."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.labels import CLASS_NAMES

Mask = NDArray[np.bool_]

QUALITY_BANDS = (80, 95)
"""Cuts between files saved with the usual quality of 75, finer ones, and almost lossless ones."""

GREY_MODES = ("L", "I", "1", "MONOCHROME")
"""Starts of the modes, Pillow's and DICOM's, that hold one channel."""


def size_cuts(facts: pd.DataFrame) -> tuple[float, float]:
    """Return the megapixels that cut the images of ``facts`` into thirds; give those of the development images."""
    lower, upper = facts["megapixels"].quantile([1 / 3, 2 / 3])
    return float(lower), float(upper)


def slices(
    targets: NDArray[np.integer], causes: NDArray[np.str_], facts: pd.DataFrame, cuts: tuple[float, float]
) -> dict[str, dict[str, Mask]]:
    """Return the images (N,) of each slice.

    ``cause``: pneumonia of one cause, against all NORMAL images. ``size``: thirds of the development images by
    megapixels. ``acquisition``: what the header tells of how a file came to be, colour mode by band of JPEG quality;
    scanners and export programs differ in both, and in the published set they stand for the class in the training
    images and not in the test images (files of quality 95 are NORMAL, colour files PNEUMONIA, in training alone), so
    that a figure that holds within a group is not the file's doing.

    Args:
        targets: (N,) of 0 and 1.
        causes: (N,) of `labels.CAUSES`.
        facts: N rows of `data.facts.header_facts`, in the same order.
        cuts: as `size_cuts` answers.
    """
    megapixels = facts["megapixels"].to_numpy()
    size = np.array(["small", "medium", "large"])[np.searchsorted(cuts, megapixels)]
    acquisition = _acquisition(facts)
    return {
        "cause": {cause: (targets == 0) | (causes == cause) for cause in sorted(set(causes[targets == 1]))},
        "size": {name: size == name for name in ("small", "medium", "large") if (size == name).any()},
        "acquisition": {name: acquisition == name for name in sorted(set(acquisition))},
    }


def patients(targets: NDArray[np.integer], groups: NDArray[np.integer]) -> dict[str, int]:
    """Count the patients of each class."""
    return {name: len(np.unique(groups[targets == target])) for target, name in enumerate(CLASS_NAMES)}


def warning(counts: Mapping[str, int], minimum: int) -> str | None:
    """Say so where a class has fewer than ``minimum`` patients: figures of it are then hardly worth reading."""
    few = [f"{count} of {name}" for name, count in counts.items() if count < minimum]
    return f"too few patients ({', '.join(few)}; expected {minimum})" if few else None


def _acquisition(facts: pd.DataFrame) -> NDArray[np.str_]:
    low, high = QUALITY_BANDS
    grey = facts["mode"].str.startswith(GREY_MODES)
    quality = facts["jpeg_quality"]
    bands = [f"quality below {low}", f"quality {low} to {high - 1}", f"quality from {high}"]
    band = np.select([quality < low, quality < high, quality >= high], bands, "no JPEG")
    return np.char.add(np.where(grey, "grey, ", "colour, "), band)
