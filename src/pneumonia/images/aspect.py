"""Images cut to another aspect ratio: what a model sees when each class comes in the shape of the other.

Radiographs are stretched to a square, so that the shape of the film shows in the anatomy. Where the classes were
cropped differently, a network can read the class from that. Cutting the images of each class to the shape of the other
turns this shortcut against whoever uses it, and leaves the lungs to whoever looks at them.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def swap(images: NDArray[np.uint8], targets: NDArray[np.integer], aspects: tuple[float, float]) -> NDArray[np.uint8]:
    """Give the images of each class the aspect ratio that is typical of the other class.

    Args:
        images: (N, size, size), stretched to a square.
        targets: (N,) of 0 (NORMAL) and 1 (PNEUMONIA).
        aspects: typical width / height of the files of class 0 and of class 1.

    Returns:
        Images (N, size, size), cut about their middle and stretched to a square again.
    """
    factors = np.array([aspects[1] / aspects[0], aspects[0] / aspects[1]])
    return np.stack(
        [_cut(Image.fromarray(image), float(factor)) for image, factor in zip(images, factors[targets], strict=True)]
    )


def _cut(image: Image.Image, factor: float) -> NDArray[np.uint8]:
    """Make the aspect ratio ``factor`` times what it was, by cutting height (above 1) or width (below 1)."""
    width, height = min(1.0, factor) * image.width, min(1.0, 1 / factor) * image.height
    left, top = (image.width - width) / 2, (image.height - height) / 2
    window = (left, top, left + width, top + height)
    return np.asarray(image.resize(image.size, Image.Resampling.BILINEAR, box=window))
