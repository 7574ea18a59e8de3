"""Evidence maps: how much each part of an image contributes to the logit of PNEUMONIA.

Every network here ends in global average pooling and one linear unit, so its logit is a bias plus the mean, over the
positions of the last feature map, of the features weighted by the unit. That weighted map is the class activation map
(CAM; Zhou et al. 2016, arXiv:1512.04150). For such networks Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) is the
same up to a factor, and so is HiResCAM (Draelos and Carin 2020, arXiv:2011.08891): no gradient is needed, and the map
is a complete decomposition of the logit. The bias is added at every position here, so that the evidence at a position
is the logit the network would have if the whole image looked like it.

The feature map is coarse (4 x 4 to 8 x 8), so maps are averaged over shifts of the image by half a cell: on validation
phantoms more maps then pointed into the lesion, while averaging over mirrored images, and maps of the layer before the
last pooling, gained nothing. The pointing game of ``dvc repro explain`` reports the share that does.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FloatMaps = NDArray[np.float32]

BILINEAR = Image.Resampling.BILINEAR

SMALLEST_SCALE = 0.1
"""Logits; the smallest evidence that gets the strongest colour, so that noise stays pale."""


def average_over_shifts(
    maps: Callable[[NDArray[np.uint8]], FloatMaps], pixels: NDArray[np.uint8], cells: int
) -> FloatMaps:
    """Return evidence maps (N, size, size) averaged over nine shifts of the images by half a cell.

    Args:
        maps: returns maps (N, size, size) of images of that shape.
        pixels: images, shape (N, size, size).
        cells: side of the feature map.
    """
    half = pixels.shape[1] // (2 * cells)
    shifts = list(itertools.product((-half, 0, half), repeat=2))
    total = np.zeros(pixels.shape, np.float32)
    for down, right in shifts:
        total += _shift(maps(_shift(pixels, down, right)), -down, -right)
    return total / np.float32(len(shifts))


def enlarge(cells: FloatMaps, size: int) -> FloatMaps:
    """Return evidence per cell (N, cells, cells), interpolated to maps (N, size, size)."""
    enlarged = (Image.fromarray(each.astype(np.float32)).resize((size, size), BILINEAR) for each in cells)
    return np.stack([np.asarray(each) for each in enlarged])


def heat(evidence: FloatMaps, scale: float | None = None) -> FloatMaps:
    """Return evidence FOR pneumonia as 0 (none, or against) to 1, of the same shape.

    Args:
        evidence: one map or several, in logits.
        scale: evidence that becomes 1; more stays 1. By default each map's own maximum, which gives the strongest
            position of any image the strongest colour, however weak it is: pass a common scale to compare images.

    Examples:
        >>> heat(np.array([[-1.0, 1.0], [2.0, 8.0]], np.float32), scale=4.0)
        array([[0.  , 0.25],
               [0.5 , 1.  ]], dtype=float32)
    """
    positive = np.maximum(evidence, 0)
    top = positive.max(axis=(-2, -1), keepdims=True) if scale is None else scale
    return np.clip(np.divide(positive, top, out=np.zeros_like(positive), where=np.asarray(top) > 0), 0, 1)


def _shift(images: NDArray[Any], down: int, right: int) -> NDArray[Any]:
    """Move images (N, size, size) by whole pixels; pixels that enter repeat the edge."""
    rows, columns = (np.clip(np.arange(images.shape[1]) - by, 0, images.shape[1] - 1) for by in (down, right))
    return images[:, rows[:, None], columns]
