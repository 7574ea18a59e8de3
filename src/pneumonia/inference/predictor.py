"""A bundle turned into answers: the only road from image bytes to a probability."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.images.decode import decode
from pneumonia.labels import CLASS_NAMES
from pneumonia.models import bundle as bundles


@dataclass(frozen=True)
class Answer:
    """What a model says of one image.

    Attributes:
        probability: of PNEUMONIA, calibrated, 0 to 1.
        label: the class at the operating point.
        indeterminate: whether the probability is too near to the operating point to rely on the label.
    """

    probability: float
    label: str
    indeterminate: bool


class Predictor:
    """Answers for image bytes or for decoded pixels with the model of one bundle."""

    def __init__(self, bundle: bundles.Bundle, model: Any) -> None:
        """Wrap a bundle and its loaded Keras model; use `load` to open both from a folder."""
        self.bundle = bundle
        self.model = model

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        """Open a bundle.

        Raises:
            BundleError: the folder is no whole bundle.
        """
        import keras

        bundle = bundles.read(folder)
        return cls(bundle, keras.saving.load_model(bundle.model_file, compile=False))

    def predict(self, images: Sequence[bytes]) -> list[Answer]:
        """Answer for encoded images (JPEG, PNG or DICOM bytes), in order.

        Raises:
            ImageError: an image cannot be decoded.
        """
        if not images:
            return []
        pixels = np.stack([decode(content, self.bundle.card.image_size) for content in images])
        return [self.answer(p) for p in self.probabilities(pixels)]

    def logits(self, pixels: NDArray[np.uint8], batch_size: int = 32) -> NDArray[np.float64]:
        """Return what the network answers, before calibration (N,), for decoded pixels (N, size, size) uint8."""
        return logits(self.model, pixels, batch_size)

    def probabilities(self, pixels: NDArray[np.uint8], batch_size: int = 32) -> NDArray[np.float64]:
        """Return the calibrated probability of PNEUMONIA (N,) for decoded pixels (N, size, size) uint8."""
        return self.bundle.card.calibration.probabilities(self.logits(pixels, batch_size))

    def answer(self, probability: float) -> Answer:
        """Put a calibrated probability against operating point and band."""
        return answer(self.bundle.card, probability)


def answer(card: bundles.Card, probability: float) -> Answer:
    """Put a calibrated probability against the operating point and the band of a card."""
    positive = probability >= card.threshold
    return Answer(float(probability), CLASS_NAMES[int(positive)], bool(card.band.holds(np.asarray(probability))))


def logits(model: Any, pixels: NDArray[np.uint8], batch_size: int) -> NDArray[np.float64]:
    """Run a Keras model that answers logits on pixels (N, size, size) uint8, batch by batch; logits (N,)."""
    answered: NDArray[np.float64] = model.predict(pixels[..., None], batch_size=batch_size, verbose=0)[:, 0].astype(
        np.float64
    )
    return answered
