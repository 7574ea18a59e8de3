"""Reference statistics of a bundle (reference.npz), for the interpretation of a prediction.

`evaluation.reference_fit` fits them to the development images.
"""

import dataclasses
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.bundle.bundle import Bundle
from pneumonia.bundle.familiarity import Familiarity
from pneumonia.core.errors import BundleError

PREFIX = "familiarity_"


@dataclass(frozen=True)
class ObservedShare:
    """Observed share of PNEUMONIA among validation images of similar probability.

    Attributes:
        share: of PNEUMONIA, 0 to 1.
        low: lower end of its 95% interval; None where it is undefined.
        high: upper end, likewise.
        images: number of validation images in the bin.
    """

    share: float
    low: float | None
    high: float | None
    images: int


@dataclass(frozen=True, eq=False)
class Reference:
    """Statistics of the development images under one network.

    Attributes:
        normal_evidence: mean evidence map of NORMAL validation images, in logits, shape (size, size).
        evidence_scale: logits above that mean from which a heat map has its strongest colour, above 0.
        familiarity: distribution of the development images.
        bin_edges: ascending from 0 to 1, shape (B + 1,); bins of the calibrated probability.
        bin_shares: share of PNEUMONIA among the validation images of each bin and the ends of its 95% interval, NaN
            where undefined; shape (B, 3).
        bin_images: validation images per bin, shape (B,).
    """

    normal_evidence: NDArray[np.float32]
    evidence_scale: float
    familiarity: Familiarity
    bin_edges: NDArray[np.float64]
    bin_shares: NDArray[np.float64]
    bin_images: NDArray[np.int64]

    def share_of_pneumonia(self, probability: float) -> ObservedShare:
        """Return the observed share of PNEUMONIA in the bin of a calibrated probability (0 to 1)."""
        number = int(np.searchsorted(self.bin_edges[1:-1], probability, side="right"))
        share, low, high = (None if np.isnan(each) else float(each) for each in self.bin_shares[number])
        assert share is not None  # no bin is empty
        return ObservedShare(share, low, high, int(self.bin_images[number]))


def write(reference: Reference, path: Path) -> None:
    """Write a reference; equal references give the same bytes."""
    fields = {field.name: getattr(reference, field.name) for field in dataclasses.fields(reference)}
    familiarity = fields.pop("familiarity")
    nested = {PREFIX + field.name: getattr(familiarity, field.name) for field in dataclasses.fields(familiarity)}
    np.savez_compressed(path, **fields, **nested)


def read(bundle: Bundle) -> Reference:
    """Read the reference of a bundle that `bundle.read` has checked.

    Raises:
        BundleError: the file does not have the arrays of this version of the package.
    """
    try:
        with np.load(bundle.reference_file, allow_pickle=False) as stored:
            fields: dict[str, Any] = {name: _plain(stored[name]) for name in stored.files}
        nested = {name.removeprefix(PREFIX): fields.pop(name) for name in list(fields) if name.startswith(PREFIX)}
        return Reference(familiarity=Familiarity(**nested), **fields)
    except (TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{bundle.reference_file} does not have the arrays of bundle format {bundle.card.format_version} "
            f"({error}). Run `dvc repro -f calibrate` again."
        ) from error


def _plain(array: NDArray[Any]) -> NDArray[Any] | float:
    return array if array.ndim else float(array)
