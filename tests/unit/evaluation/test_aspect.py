import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.evaluation import aspect


def discs(count: int, size: int = 100, radius: int = 30) -> NDArray[np.uint8]:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.broadcast_to(np.where(x**2 + y**2 < radius**2, 255, 0).astype(np.uint8), (count, size, size)).copy()


def shape(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Height and width of the white area."""
    return int((image > 127).any(axis=1).sum()), int((image > 127).any(axis=0).sum())


def test_each_class_gets_the_aspect_ratio_of_the_other() -> None:
    normal, pneumonia = aspect.swap(discs(2), np.array([0, 1]), (1.2, 1.5))

    # A wider film, stretched to a square, squeezes the width against the height; nothing is cut but what must be.
    assert shape(normal) == pytest.approx((75, 60), abs=1)
    assert shape(pneumonia) == pytest.approx((60, 75), abs=1)


def test_equal_aspect_ratios_change_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32), np.uint8)

    np.testing.assert_array_equal(aspect.swap(images, np.array([0, 1, 0, 1]), (1.3, 1.3)), images)


def test_images_are_cropped_about_their_centre() -> None:
    (image,) = aspect.swap(discs(1), np.array([0]), (1.0, 1.6))

    np.testing.assert_array_equal(image, image[::-1])
    np.testing.assert_array_equal(image, image[:, ::-1])
