"""Predictions of one bundle: from decoded pixels to a calibrated probability, a label, warnings or a refusal."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import golden, reference
from pneumonia.bundle.familiarity import Familiarity
from pneumonia.core.errors import BundleError
from pneumonia.core.labels import CLASS_NAMES
from pneumonia.images.decode import decode
from pneumonia.inference.intake import Refusal
from pneumonia.inference.network import BATCH_SIZE, Array, Network, Pixels, batches

TOLERANCE = 1e-3
"""Largest difference from the pinned probability of a golden image."""
UNUSUAL = 0.05
"""Share of validation images; an image that is less familiar than this gets an answer with a warning."""
UNUSUAL_WARNING = f"Less familiar than {1 - UNUSUAL:.0%} of the validation images: rely on this answer less."
EMBEDDING_SIZE = 8
"""Principal components of the pooled features that are returned for monitoring."""


@dataclass(frozen=True)
class Answer:
    """A calibrated probability and its label.

    Attributes:
        probability: of PNEUMONIA, calibrated, 0 to 1.
        label: the class at the operating point.
        indeterminate: whether the probability lies in the band around the operating point where the label is not
            reliable.
    """

    probability: float
    label: str
    indeterminate: bool


@dataclass(frozen=True, eq=False)
class Reading:
    """Result for one image.

    Attributes:
        probability: of PNEUMONIA, calibrated, 0 to 1.
        label: the class at the operating point.
        indeterminate: see `Answer`.
        familiarity: share of validation images, 0 to 1, that are less familiar.
        refusal: why this must not be shown as an answer; None if it may be.
        warnings: to show with the answer.
        embedding: principal components of the pooled features, for monitoring; shape (up to 8,).
    """

    probability: float
    label: str
    indeterminate: bool
    familiarity: float
    refusal: Refusal | None
    warnings: tuple[str, ...]
    embedding: Array


class Runtime:
    """Predicts for decoded images with the model of one bundle; thread-safe.

    Attributes:
        bundle: the bundle to predict with.
        reference: statistics of its development images.
    """

    def __init__(self, bundle: bundles.Bundle, network: Network) -> None:
        """Combine a bundle with its opened network; use `load` to open both from a folder."""
        self.bundle = bundle
        self.reference = reference.read(bundle)
        self._network = network

    @classmethod
    def load(cls, folder: Path, *, threads: int = 0) -> "Runtime":
        """Open a bundle, and check its answers for the golden images.

        Args:
            folder: of the bundle.
            threads: threads per call; 0 for one per core.

        Raises:
            BundleError: the folder is not a complete bundle, or its answers differ from the pinned ones.
        """
        bundle = bundles.read(folder)
        runtime = cls(bundle, Network(bundle.graph_file, threads))
        difference = golden.largest_difference(bundle.card.golden, runtime.golden_answers())
        if not difference <= TOLERANCE:
            raise BundleError(
                f"{bundle.folder} does not give the pinned probabilities of the golden images: one differs by "
                f"{difference:.4f}, at most {TOLERANCE} is allowed. Run `dvc repro -f calibrate`, or install the "
                "version of onnxruntime that pyproject.toml requires."
            )
        return runtime

    @property
    def evidence_scale(self) -> float:
        """Logits from which a heat map has its strongest colour, the same for all images."""
        return self.reference.evidence_scale

    def logits(self, pixels: Pixels, batch_size: int = BATCH_SIZE) -> NDArray[np.float64]:
        """Return uncalibrated logits (N,) of decoded images (N, size, size)."""
        return self._network.logits(pixels, batch_size)

    def probabilities(self, pixels: Pixels, batch_size: int = BATCH_SIZE) -> NDArray[np.float64]:
        """Return calibrated probabilities of PNEUMONIA (N,), 0 to 1, of decoded images (N, size, size)."""
        return self.bundle.card.calibration.probabilities(self.logits(pixels, batch_size))

    def answer(self, probability: float) -> Answer:
        """Return the label of a calibrated probability, and whether it is indeterminate."""
        card = self.bundle.card
        positive = probability >= card.threshold
        return Answer(float(probability), CLASS_NAMES[int(positive)], bool(card.band.holds(np.asarray(probability))))

    def predict(self, images: list[bytes]) -> list[Answer]:
        """Return answers for encoded images (JPEG, PNG or DICOM), in order, without a check of familiarity.

        Raises:
            ImageError: an image cannot be decoded.
        """
        if not images:
            return []
        pixels = np.stack([decode(content, self.bundle.card.image_size) for content in images])
        return [self.answer(p) for p in self.probabilities(pixels)]

    def run(self, pixels: Pixels) -> list[Reading]:
        """Return readings of decoded images (N, size, size), in order."""
        return [reading for batch in batches(pixels, BATCH_SIZE) for reading in self._read(batch)]

    def evidence(self, pixels: Pixels, batch_size: int = BATCH_SIZE) -> Array:
        """Return the evidence for pneumonia beyond the mean of NORMAL validation images.

        Args:
            pixels: one decoded image (size, size), or several (N, size, size).
            batch_size: images per call of the network.

        Returns:
            One map in logits per image, of the shape of ``pixels``; see `inference.evidence`.
        """
        if pixels.ndim == 2:
            return np.asarray(self.evidence(pixels[None])[0])
        return np.asarray(self._network.evidence(pixels, batch_size=batch_size) - self.reference.normal_evidence)

    def share_of_pneumonia(self, probability: float) -> reference.ObservedShare:
        """Return the observed share of PNEUMONIA among validation images of similar probability (0 to 1)."""
        return self.reference.share_of_pneumonia(probability)

    def golden_answers(self) -> dict[str, float]:
        """Return the calibrated probabilities of the golden images, by file name."""
        return golden.by_name(self.probabilities(golden.pixels(self.bundle.card.image_size)))

    def _read(self, pixels: Pixels) -> list[Reading]:
        logits, _, pooled = self._network.outputs(pixels)
        familiarity = self.reference.familiarity
        probabilities = self.bundle.card.calibration.probabilities(logits)
        shares = familiarity.shares(pixels, pooled)
        embeddings = familiarity.components(pooled)[:, :EMBEDDING_SIZE]
        return [self._reading(*each) for each in zip(probabilities, *shares, embeddings, strict=True)]

    def _reading(
        self, probability: float, share: float, by_distance: float, by_in_distribution: float, embedding: Array
    ) -> Reading:
        answer = self.answer(probability)
        refusal = _refuse(self.reference.familiarity, share, by_distance, by_in_distribution)
        unusual = refusal is None and share < UNUSUAL
        return Reading(
            probability=answer.probability,
            label=answer.label,
            indeterminate=answer.indeterminate,
            familiarity=float(share),
            refusal=refusal,
            warnings=(UNUSUAL_WARNING,) if unusual else (),
            embedding=embedding,
        )


def _refuse(familiarity: Familiarity, share: float, by_distance: float, by_in_distribution: float) -> Refusal | None:
    if share >= familiarity.minimum:
        return None
    if by_in_distribution <= by_distance:
        return Refusal(
            "not_a_radiograph",
            "This image was not recognised as an upright frontal chest radiograph with bright bones. Upload the "
            "whole image, neither rotated nor inverted.",
        )
    return Refusal(
        "unfamiliar",
        "This image is too different from the training images for a reliable result. Upload a frontal chest "
        "radiograph of a child, without frame or margin.",
    )
