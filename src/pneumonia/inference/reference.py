"""What the answers of a bundle are compared with: reference.npz, fitted when training ends (`pipeline.reference`)."""

import dataclasses
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.errors import BundleError
from pneumonia.inference.familiarity import Familiarity
from pneumonia.models.bundle import Bundle

PREFIX = "familiarity_"


@dataclass(frozen=True)
class Share:
    """How many images with a probability like this one were PNEUMONIA in validation.

    Attributes:
        share: of PNEUMONIA among them, 0 to 1.
        low: lower end of its 95% interval; None where it cannot be told.
        high: upper end, likewise.
        images: how many they were.
    """

    share: float
    low: float | None
    high: float | None
    images: int


@dataclass(frozen=True, eq=False)
class Reference:
    """See the module.

    Attributes:
        normal_evidence: (size, size) mean evidence map of NORMAL validation images, in logits.
        evidence_scale: logits above it from which a heat map has its strongest colour.
        familiarity: what the development images look like.
        bin_edges: (B + 1,) ascending, from 0 to 1; bins of the calibrated probability.
        bin_shares: (B, 3) of PNEUMONIA among the validation images in each, with the ends of the 95% interval, NaN
            where they cannot be told.
        bin_images: (B,) how many validation images are in each.
    """

    normal_evidence: NDArray[np.float32]
    evidence_scale: float
    familiarity: Familiarity
    bin_edges: NDArray[np.float64]
    bin_shares: NDArray[np.float64]
    bin_images: NDArray[np.int64]

    def share_of_pneumonia(self, probability: float) -> Share:
        """Say what a calibrated probability (0 to 1) meant on validation."""
        number = int(np.searchsorted(self.bin_edges[1:-1], probability, side="right"))
        share, low, high = (None if np.isnan(each) else float(each) for each in self.bin_shares[number])
        assert share is not None  # no bin is empty
        return Share(share, low, high, int(self.bin_images[number]))


def write(reference: Reference, file: Path) -> None:
    """Write a reference; the same one gives the same bytes."""
    fields = {field.name: getattr(reference, field.name) for field in dataclasses.fields(reference)}
    familiarity = fields.pop("familiarity")
    nested = {PREFIX + field.name: getattr(familiarity, field.name) for field in dataclasses.fields(familiarity)}
    np.savez_compressed(file, **fields, **nested)


def read(bundle: Bundle) -> Reference:
    """Read the reference of a bundle that `models.bundle.read` has found whole.

    Raises:
        BundleError: the file does not hold what this version of the package expects.
    """
    try:
        with np.load(bundle.reference_file, allow_pickle=False) as stored:
            fields: dict[str, Any] = {name: _plain(stored[name]) for name in stored.files}
        nested = {name.removeprefix(PREFIX): fields.pop(name) for name in list(fields) if name.startswith(PREFIX)}
        return Reference(familiarity=Familiarity(**nested), **fields)
    except (TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{bundle.reference_file} does not hold what an answer is compared with ({error}). Train the model again."
        ) from error


def _plain(array: NDArray[Any]) -> NDArray[Any] | float:
    return array if array.ndim else float(array)
