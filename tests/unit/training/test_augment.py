import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.training.augment import AugmentedBatches, augment
from pneumonia.training.settings import AugmentParams

OFF = AugmentParams(
    flip=False,
    rotate_degrees=0,
    crop=0,
    brightness=0,
    contrast=0,
    gamma=0,
    sharpness=0,
)
STRONG = AugmentParams(
    rotate_degrees=180,
    crop=0.95,
    brightness=1,
    contrast=0.9,
    gamma=0.9,
    sharpness=2,
    equalize=1,
)


def only(**strength: float | bool) -> AugmentParams:
    return OFF.model_copy(update=strength)


def noise(count: int = 8, size: int = 32) -> NDArray[np.float32]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 1)).astype(np.float32)


def changed(images: NDArray[np.float32], params: AugmentParams, seed: int = 3) -> NDArray[np.float32]:
    return augment(images[..., 0].astype(np.uint8), params, images.shape[1], seed)[..., None].astype(np.float32)


def batches(images: NDArray[np.uint8], *, first_epoch: int = 0, seed: int = 5, params: AugmentParams = OFF):
    return AugmentedBatches(
        images,
        (images[:, 0, 0] % 2).astype(np.float32),
        batch_size=4,
        size=images.shape[1],
        params=params,
        seed=seed,
        first_epoch=first_epoch,
    )


def epoch(dataset: AugmentedBatches) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    parts = [dataset[number] for number in range(len(dataset))]
    images = np.concatenate([images for images, _ in parts]).astype(np.float32)
    return images, np.concatenate([targets for _, targets in parts])


def numbered(count: int = 10) -> NDArray[np.uint8]:
    """Images that are their own number all over."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 8, 8)).copy()


def test_strength_zero_changes_nothing() -> None:
    images = noise()

    np.testing.assert_allclose(changed(images, OFF), images, atol=0.01)


@pytest.mark.parametrize(
    "strength",
    [
        {"flip": True},
        {"rotate_degrees": 10},
        {"crop": 0.1},
        {"brightness": 0.1},
        {"contrast": 0.2},
        {"gamma": 0.2},
        {"sharpness": 0.8},
        {"equalize": 1.0},
    ],
    ids=lambda strength: next(iter(strength)),
)
def test_each_strength_changes_images(strength: dict[str, float | bool]) -> None:
    images = noise()

    assert np.abs(changed(images, only(**strength)) - images).mean() > 1


def test_seed_determines_the_changes() -> None:
    images = noise()

    first = changed(images, AugmentParams(), seed=1)

    np.testing.assert_array_equal(changed(images, AugmentParams(), seed=1), first)
    assert np.abs(changed(images, AugmentParams(), seed=2) - first).mean() > 1


def test_images_of_a_batch_get_different_changes() -> None:
    same = np.repeat(noise(1), 6, axis=0)

    different = changed(same, AugmentParams())

    assert all(np.abs(different[0] - other).mean() > 1 for other in different[1:])


def test_values_stay_grey_levels() -> None:
    images = np.concatenate([noise(60), np.zeros((2, 32, 32, 1)), np.full((2, 32, 32, 1), 255)]).astype(np.float32)

    result = changed(images, STRONG)

    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 255
    assert result.shape == images.shape


def test_flip_mirrors_left_and_right() -> None:
    images = noise(32)

    result = changed(images, only(flip=True))

    as_it_was = [np.allclose(new, old, atol=0.01) for new, old in zip(result, images, strict=True)]
    mirrored = [np.allclose(new, old[:, ::-1], atol=0.01) for new, old in zip(result, images, strict=True)]
    assert all(a != b for a, b in zip(as_it_was, mirrored, strict=True))
    assert 8 <= sum(mirrored) <= 24


def dot(y: int, x: int, size: int = 65) -> NDArray[np.float32]:
    images = np.zeros((24, size, size, 1), np.float32)
    images[:, y - 1 : y + 2, x - 1 : x + 2] = 255
    return images


def centres(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Centres of brightness (N, 2), as y and x."""
    weights = images[..., 0] / images.sum(axis=(1, 2, 3), keepdims=True)[..., 0]
    places = np.arange(images.shape[1])
    return np.stack([weights.sum(axis=2) @ places, weights.sum(axis=1) @ places], axis=1)


def test_rotation_is_about_the_centre_and_bounded() -> None:
    middle = centres(changed(dot(32, 32), only(rotate_degrees=20)))
    edge = centres(changed(dot(32, 52), only(rotate_degrees=20))) - 32

    angles = np.rad2deg(np.arctan2(edge[:, 0], edge[:, 1]))
    np.testing.assert_allclose(middle, 32, atol=0.1)
    np.testing.assert_allclose(np.hypot(*edge.T), 20, atol=0.3)
    assert np.abs(angles).max() <= 20.5
    assert angles.min() < -5
    assert angles.max() > 5


def frame(size: int = 65, margin: int = 16) -> NDArray[np.float32]:
    images = np.zeros((200, size, size, 1), np.float32)
    images[:, margin:-margin, margin:-margin] = 255
    return images


def test_crop_scales_height_and_width_independently() -> None:
    shown = changed(frame(), only(crop=0.5)) > 127

    heights, widths = shown.any(axis=2).sum(axis=1)[:, 0] / 33, shown.any(axis=1).sum(axis=1)[:, 0] / 33
    assert heights.min() >= 0.98
    assert heights.max() > 1.6
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.2
    narrow = np.log(widths / heights)
    assert abs(np.median(narrow)) < 0.1  # neither narrow nor wide ones prevail
    assert np.quantile(narrow, 0.95) > 0.3


def test_crop_stays_inside_the_image() -> None:
    white = np.full((50, 33, 33, 1), 255, np.float32)

    assert changed(white, only(crop=0.6)).min() == 255


def test_augmented_images_may_be_smaller() -> None:
    images = frame()[..., 0].astype(np.uint8)

    shown = augment(images, OFF, 33, seed=1) > 127

    assert shown.shape == (200, 33, 33)
    assert (shown.any(axis=1).sum(axis=1) == 17).all()


def test_brightness_is_a_share_of_white() -> None:
    grey = np.full((40, 8, 8, 1), 128, np.float32)

    moves = changed(grey, only(brightness=0.1)).mean(axis=(1, 2, 3)) - 128

    assert np.abs(moves).max() <= 0.1 * 255 + 0.1
    assert moves.min() < -10
    assert moves.max() > 10


def test_epoch_has_every_image_once_with_its_target() -> None:
    dataset = batches(numbered())
    for _ in range(3):
        images, targets = epoch(dataset)

        numbers = images[:, 0, 0, 0].round().astype(int)
        assert images.shape == (10, 8, 8, 1)
        assert targets.shape == (10, 1)
        assert sorted(numbers) == list(range(10))
        np.testing.assert_array_equal(targets[:, 0], numbers % 2)
        dataset.on_epoch_end()


def test_epochs_differ_in_order_and_changes() -> None:
    dataset = batches(noise(8)[..., 0].astype(np.uint8), params=AugmentParams())
    first, _ = epoch(dataset)
    dataset.on_epoch_end()
    second, _ = epoch(dataset)

    assert np.abs(first - second).mean() > 1
    order = [batches(numbered(40), first_epoch=number)[0][1].ravel().tolist() for number in range(8)]
    assert len({tuple(targets) for targets in order}) > 1


def test_epoch_is_the_same_after_a_restart() -> None:
    images = noise(10)[..., 0].astype(np.uint8)
    advanced = batches(images, params=AugmentParams())
    for _ in range(3):
        epoch(advanced)
        advanced.on_epoch_end()

    restarted = batches(images, params=AugmentParams(), first_epoch=3)

    for expected, got in zip(epoch(advanced), epoch(restarted), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_other_seed_gives_another_order() -> None:
    orders = [epoch(batches(numbered(), seed=seed))[0][:, 0, 0, 0].round().tolist() for seed in (1, 2)]

    assert orders[0] != orders[1]
