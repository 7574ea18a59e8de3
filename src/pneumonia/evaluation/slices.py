"""Subgroups of the images: by cause, by image size and by acquisition."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.labels import CLASS_NAMES

Mask = NDArray[np.bool_]

QUALITY_BANDS = (80, 95)
"""JPEG qualities that separate the usual quality of 75, higher qualities, and almost lossless files."""

GREY_MODES = ("L", "I", "1", "MONOCHROME")
"""Prefixes of the single-channel modes of Pillow and DICOM."""


def size_cuts(metadata: pd.DataFrame) -> tuple[float, float]:
    """Return the megapixels that divide images into thirds.

    Args:
        metadata: header metadata of the development images.
    """
    lower, upper = metadata["megapixels"].quantile([1 / 3, 2 / 3])
    return float(lower), float(upper)


def slices(
    targets: NDArray[np.integer], causes: NDArray[np.str_], metadata: pd.DataFrame, cuts: tuple[float, float]
) -> dict[str, dict[str, Mask]]:
    """Return the mask (N,) of each slice, by kind and name.

    - ``cause``: pneumonia of one cause, with all NORMAL images.
    - ``size``: thirds of the development images by megapixels.
    - ``acquisition``: colour mode and range of JPEG quality, which differ between scanners and export programs. In the
      training images of the published set they are associated with the class (files of quality 95 are NORMAL, colour
      files PNEUMONIA), in its test images they are not. Metrics within one group do not benefit from this association.

    Args:
        targets: classes, 0 or 1, shape (N,).
        causes: of `labels.CAUSES`, shape (N,).
        metadata: N rows of `data.header_metadata.header_metadata`, in the same order.
        cuts: from `size_cuts`.
    """
    megapixels = metadata["megapixels"].to_numpy()
    size = np.array(["small", "medium", "large"])[np.searchsorted(cuts, megapixels)]
    acquisition = _acquisition(metadata)
    return {
        "cause": {cause: (targets == 0) | (causes == cause) for cause in sorted(set(causes[targets == 1]))},
        "size": {name: size == name for name in ("small", "medium", "large") if (size == name).any()},
        "acquisition": {name: acquisition == name for name in sorted(set(acquisition))},
    }


def patients(targets: NDArray[np.integer], groups: NDArray[np.integer]) -> dict[str, int]:
    """Return the number of patients of each class."""
    return {name: len(np.unique(groups[targets == target])) for target, name in enumerate(CLASS_NAMES)}


def warning(counts: Mapping[str, int], minimum: int) -> str | None:
    """Return a warning that metrics are unreliable where a class has fewer than ``minimum`` patients, else None."""
    few = [f"{count} of {name}" for name, count in counts.items() if count < minimum]
    return f"too few patients ({', '.join(few)}; expected {minimum})" if few else None


def _acquisition(metadata: pd.DataFrame) -> NDArray[np.str_]:
    low, high = QUALITY_BANDS
    grey = metadata["mode"].str.startswith(GREY_MODES)
    quality = metadata["jpeg_quality"]
    bands = [f"quality below {low}", f"quality {low} to {high - 1}", f"quality from {high}"]
    band = np.select([quality < low, quality < high, quality >= high], bands, "no JPEG")
    return np.char.add(np.where(grey, "grey, ", "colour, "), band)
