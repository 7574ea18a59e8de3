"""Golden images: phantoms in every accepted format, whose answers are part of a bundle.

The answers are pinned in the bundle's card when it is written; whatever answers with that bundle later, wherever it
runs, must agree. The files beside this module are never drawn again: only their bytes count.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.images.decode import decode

FOLDER = Path(__file__).parent / "golden_images"


def images() -> dict[str, bytes]:
    """Return the encoded golden images by file name."""
    return {file.name: file.read_bytes() for file in sorted(FOLDER.iterdir())}


def pixels(image_size: int) -> NDArray[np.uint8]:
    """Return the decoded golden images in the order of `images`, shape (N, image_size, image_size)."""
    return np.stack([decode(content, image_size) for content in images().values()])


def by_name(probabilities: NDArray[np.float64]) -> dict[str, float]:
    """Return probabilities, in the order of `images`, by file name and rounded as they are pinned."""
    return {name: round(float(p), 6) for name, p in zip(images(), probabilities, strict=True)}


def largest_difference(pinned: Mapping[str, float], answers: Mapping[str, float]) -> float:
    """Return the largest difference between pinned and given probabilities, 0 to 1.

    It is 1 where the image names differ, there are no images, or an answer is not a probability.

    Examples:
        >>> round(largest_difference({"a.png": 0.5, "b.png": 0.2}, {"a.png": 0.5, "b.png": 0.3}), 6)
        0.1
    """
    if pinned.keys() != answers.keys() or not pinned or not all(0 <= p <= 1 for p in answers.values()):
        return 1.0
    return max(abs(pinned[name] - answers[name]) for name in pinned)
