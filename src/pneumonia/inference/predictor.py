"""A bundle turned into answers: the only road from image bytes to a probability."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pneumonia.images.decode import decode
from pneumonia.labels import CLASS_NAMES
from pneumonia.models import bundle as bundles


@dataclass(frozen=True)
class Answer:
    """What a model says of one image: probability of PNEUMONIA (0 to 1) and the label at the operating point."""

    probability: float
    label: str


class Predictor:
    """Answers for image bytes or for decoded pixels with the model of one bundle."""

    def __init__(self, bundle: bundles.Bundle, model: Any) -> None:
        """Wrap a bundle and its loaded Keras model; use `load` to open both from a folder."""
        self.bundle = bundle
        self._model = model

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

    def probabilities(self, pixels: NDArray[np.uint8], batch_size: int = 32) -> NDArray[np.float64]:
        """Return the probability of PNEUMONIA (N,) for decoded pixels (N, size, size) uint8."""
        return probabilities(self._model, pixels, batch_size)

    def answer(self, probability: float) -> Answer:
        """Put a probability against the operating point."""
        positive = probability >= self.bundle.card.threshold
        return Answer(float(probability), CLASS_NAMES[int(positive)])


def probabilities(model: Any, pixels: NDArray[np.uint8], batch_size: int) -> NDArray[np.float64]:
    """Run a Keras model that answers logits on pixels (N, size, size) uint8, batch by batch, as probabilities (N,).

    The sigmoid is taken in float64, so that confident answers keep their order.
    """
    logits = model.predict(pixels[..., None], batch_size=batch_size, verbose=0)[:, 0].astype(np.float64)
    return np.asarray(expit(logits))
