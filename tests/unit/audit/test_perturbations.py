import numpy as np
import pytest

from pneumonia.audit import perturbations as perturb
from pneumonia.audit.perturbations import PERTURBATIONS

SIZE = 64


def detail(pixels: np.ndarray) -> float:
    return float(np.abs(np.diff(pixels.astype(float), axis=1)).mean())


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (SIZE, SIZE), dtype=np.uint8)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_shape_and_dtype_are_kept(name: str, picture: np.ndarray) -> None:
    images = np.stack([picture, picture.T])
    result = perturb.perturb(name, images, np.array([1.4, 0.8]))
    assert result.shape == images.shape
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[1], PERTURBATIONS[name](picture.T, 0.8))


@pytest.mark.parametrize("name", [name for name in PERTURBATIONS if name != "letterbox"])
def test_a_uniform_image_is_unchanged(name: str) -> None:
    even = np.full((SIZE, SIZE), 130, np.uint8)
    assert np.abs(PERTURBATIONS[name](even, 1.0).astype(int) - 130).max() <= 4  # JPEG's steps are coarse


def test_resizing_and_blur_reduce_detail_and_sharpening_increases_it(picture: np.ndarray) -> None:
    quarter, half, blurred, same, sharpened = (
        detail(PERTURBATIONS[name](picture, 1.0)) if name else detail(picture)
        for name in ("quarter_size", "half_size", "blur", "", "sharpen")
    )
    assert quarter < half < same
    assert blurred < same < sharpened


def test_lower_jpeg_quality_changes_the_image_more(picture: np.ndarray) -> None:
    good, fair, poor = (np.abs(perturb.jpeg(picture, q).astype(int) - picture).mean() for q in (95, 50, 20))
    assert good < fair < poor


@pytest.mark.parametrize(("aspect", "bars"), [(2.0, "rows"), (0.5, "columns")])
def test_letterbox_restores_the_aspect_ratio_between_black_bars(aspect: float, bars: str) -> None:
    boxed = perturb.letterbox(np.full((SIZE, SIZE), 255, np.uint8), aspect)
    boxed = boxed if bars == "rows" else boxed.T
    white = boxed == 255
    assert white[16:48].all()
    assert not white[:16].any()
    assert not white[48:].any()


def test_letterbox_of_a_square_changes_nothing(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(perturb.letterbox(picture, 1.0), picture)
