"""Answers of a Keras network during training; everything after training answers with ONNX Runtime (`inference`)."""

import keras
import numpy as np
from numpy.typing import NDArray


def logits(model: keras.Model, pixels: NDArray[np.uint8], batch_size: int = 32) -> NDArray[np.float64]:
    """Return the logits (N,) that a network gives for decoded images (N, size, size)."""
    answers: NDArray[np.float64] = model.predict(pixels[..., None], batch_size=batch_size, verbose=0)[:, 0].astype(
        np.float64
    )
    return answers
