"""Where a network sees pneumonia: maps of its evidence over the image.

Every network here ends in global average pooling and one linear unit, so its logit is a bias plus the mean, over the
places of the last feature map, of the features weighted as the unit weights them. That weighted map is the class
activation map (Zhou et al. 2016, arXiv:1512.04150). For such networks Grad-CAM (Selvaraju et al. 2017,
arXiv:1610.02391) is the same up to a factor, and so is HiResCAM (Draelos and Carin 2020, arXiv:2011.08891): no
gradient is needed, and the map leaves out nothing that the network has weighed. The bias is part of every place here,
so that a place's evidence is what the network would answer if all of the image looked like it. Where the bias is
large, what is weighed alone may speak against pneumonia everywhere in an image that the network is sure of.

The feature map is coarse (4 x 4 to 8 x 8), so the map is averaged over shifts of the image by half a cell: on
validation phantoms more maps then pointed into the lesion, while averaging over mirror images, and maps of the layer
before the last pooling, gained nothing. The pointing game of ``dvc repro explain`` says how many do.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.errors import ModelError

FloatMaps = NDArray[np.float32]

BILINEAR = Image.Resampling.BILINEAR

SMALLEST_SCALE = 0.1
"""Logits; evidence that is weaker everywhere stays pale."""


class Explainer:
    """Draws evidence maps of one network."""

    def __init__(self, model: Any) -> None:
        """Take a Keras model as `pneumonia.models.architectures` builds them: ... > ``pool`` > ``logit``.

        Raises:
            ModelError: the model does not end in these two layers.
        """
        import keras

        names = [layer.name for layer in model.layers]
        if names[-2:] != ["pool", "logit"]:
            raise ModelError(
                f"expected a network that ends in the layers pool and logit, but it ends in {', '.join(names[-2:])}. "
                "Explain a model that the train stage has made."
            )
        features = model.get_layer("pool").input
        self._features = keras.Model(model.input, features)
        self._cells = int(features.shape[1])
        weights, bias = model.get_layer("logit").get_weights()
        self._weights = weights[:, 0]
        self._bias = np.float32(bias[0])

    def evidence(self, pixels: NDArray[np.uint8], *, shifted: bool = True, batch_size: int = 32) -> FloatMaps:
        """Return how much each place speaks for pneumonia (above 0) or against it (below 0), in logits.

        Args:
            pixels: decoded images, (N, size, size) uint8.
            shifted: average over nine shifts of the image, for finer maps, at nine times the work. Without it the mean
                of a map is the network's logit, exactly where the side of the feature map divides ``size``; with it
                that holds nearly.
            batch_size: images that the network sees at once.

        Returns:
            (N, size, size) float32.
        """
        if not shifted:
            return self._maps(pixels, batch_size)
        return average_over_shifts(lambda moved: self._maps(moved, batch_size), pixels, self._cells)

    def _maps(self, pixels: NDArray[np.uint8], batch_size: int) -> FloatMaps:
        features = self._features.predict(pixels[..., None], batch_size=batch_size, verbose=0)
        return enlarge(features @ self._weights + self._bias, pixels.shape[1])


def average_over_shifts(
    maps: Callable[[NDArray[np.uint8]], FloatMaps], pixels: NDArray[np.uint8], cells: int
) -> FloatMaps:
    """Return maps (N, size, size) averaged over nine shifts of the images by half a cell of the feature map.

    Args:
        maps: answers (N, size, size) for images of that shape.
        pixels: (N, size, size) uint8.
        cells: along one side of the feature map.
    """
    half = pixels.shape[1] // (2 * cells)
    shifts = list(itertools.product((-half, 0, half), repeat=2))
    total = np.zeros(pixels.shape, np.float32)
    for down, right in shifts:
        total += _shift(maps(_shift(pixels, down, right)), -down, -right)
    return total / np.float32(len(shifts))


def enlarge(cells: FloatMaps, size: int) -> FloatMaps:
    """Return evidence per cell (N, cells, cells) as maps (N, size, size)."""
    enlarged = (Image.fromarray(each.astype(np.float32)).resize((size, size), BILINEAR) for each in cells)
    return np.stack([np.asarray(each) for each in enlarged])


def heat(evidence: FloatMaps, scale: float | None = None) -> FloatMaps:
    """Return evidence FOR pneumonia as 0 (none, or against) to 1, of the same shape.

    Args:
        evidence: one map or several, in logits.
        scale: evidence that becomes 1; more stays 1. By default each map's own maximum, which makes the strongest
            place of any image glow, however weak it is: give a common scale where images are compared.
    """
    positive = np.maximum(evidence, 0)
    top = positive.max(axis=(-2, -1), keepdims=True) if scale is None else scale
    return np.clip(np.divide(positive, top, out=np.zeros_like(positive), where=np.asarray(top) > 0), 0, 1)


def _shift(images: NDArray[Any], down: int, right: int) -> NDArray[Any]:
    """Move images (N, size, size) by whole pixels; what comes in repeats the edge."""
    rows, columns = (np.clip(np.arange(images.shape[1]) - by, 0, images.shape[1] - 1) for by in (down, right))
    return images[:, rows[:, None], columns]
