"""Crop the images of each class to the aspect ratio of the other class, to test for an aspect-ratio shortcut.

Radiographs are stretched to a square, so the aspect ratio of the film remains visible in the anatomy. Where the
classes were cropped differently, a network can infer the class from that. Aspect-swapped images reverse this shortcut
and keep the lungs.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ASPECT_SWAPPED = "aspect_swapped"
"""Name of the subset: validation images with swapped aspect ratios."""


def swap(images: NDArray[np.uint8], targets: NDArray[np.integer], aspects: tuple[float, float]) -> NDArray[np.uint8]:
    """Return the images of each class cropped to the aspect ratio that is typical of the other class.

    Args:
        images: decoded images, stretched to a square, uint8, shape (N, size, size).
        targets: classes, 0 (NORMAL) or 1 (PNEUMONIA), shape (N,).
        aspects: typical width / height of the files of class 0 and of class 1.

    Returns:
        Images (N, size, size), cropped about their centre and stretched to a square again.
    """
    factors = np.array([aspects[1] / aspects[0], aspects[0] / aspects[1]])
    return np.stack(
        [_crop(Image.fromarray(image), float(factor)) for image, factor in zip(images, factors[targets], strict=True)]
    )


def _crop(image: Image.Image, factor: float) -> NDArray[np.uint8]:
    """Multiply the aspect ratio by ``factor`` by cropping the height (above 1) or the width (below 1)."""
    width, height = min(1.0, factor) * image.width, min(1.0, 1 / factor) * image.height
    left, top = (image.width - width) / 2, (image.height - height) / 2
    window = (left, top, left + width, top + height)
    return np.asarray(image.resize(image.size, Image.Resampling.BILINEAR, box=window))
