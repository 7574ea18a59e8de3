"""A familiarity fitted to phantoms accepts phantoms, and refuses altered phantoms and noise."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.bundle import familiarity
from pneumonia.bundle.alterations import ALTERATIONS, alter
from pneumonia.data import phantom
from pneumonia.data.settings import PhantomParams

SIZE = 64
PARAMS = PhantomParams(
    seed=3,
    patients=260,
    images_per_patient=1,
    size=96,
    test_fraction=0.2,
    pneumonia_fraction=0.5,
    difficulty=0.3,
    duplicates=0,
    leaked_patients=0,
    corrupt_files=0,
    shortcut="none",
    drift=0.0,
)
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def chests() -> Pixels:
    drawn = [case.draw(PARAMS).pixels for case in phantom.plan(PARAMS)]
    order = np.random.default_rng(0).permutation(len(drawn))
    return np.stack([np.asarray(Image.fromarray(drawn[each]).resize((SIZE, SIZE))) for each in order])


@pytest.fixture(scope="module")
def fitted(chests: Pixels) -> familiarity.Familiarity:
    return familiarity.fit(embed, chests[:140], chests[140:200], seed=0)


def embed(images: Pixels) -> NDArray[np.float32]:
    """Stub of a network: mean and spread of each quarter."""
    quarters = images.reshape(len(images), 2, SIZE // 2, 2, SIZE // 2).astype(np.float32)
    return np.concatenate([quarters.mean(axis=(2, 4)), quarters.std(axis=(2, 4))], axis=1).reshape(len(images), -1)


def shares(fitted: familiarity.Familiarity, images: Pixels) -> NDArray[np.float32]:
    return fitted.shares(images, embed(images))[0]


def test_images_of_the_same_kind_are_familiar(fitted: familiarity.Familiarity, chests: Pixels) -> None:
    unseen = shares(fitted, chests[200:])

    assert (unseen >= fitted.minimum).mean() > 0.9
    assert 0.3 < unseen.mean() < 0.7


def test_familiarity_is_a_share_of_validation_images(fitted: familiarity.Familiarity, chests: Pixels) -> None:
    validation = np.sort(shares(fitted, chests[140:200]))

    np.testing.assert_allclose(validation, np.arange(60) / 60, atol=0.05)
    assert (validation < fitted.minimum).sum() <= 2


@pytest.mark.parametrize("way", ["rotated_90", "rotated_180", "rotated_270", "inverted", "shuffled", "close_up"])
def test_altered_images_are_unfamiliar(fitted: familiarity.Familiarity, chests: Pixels, way: str) -> None:
    rng = np.random.default_rng(1)
    altered = np.stack([ALTERATIONS[way](each, rng) for each in chests[200:]])

    # Of so few validation images, all must be more familiar before an image is refused.
    assert (shares(fitted, altered) < fitted.minimum).mean() > 0.8


def test_noise_is_unfamiliar(fitted: familiarity.Familiarity) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, SIZE, SIZE), dtype=np.uint8)

    assert (shares(fitted, noise) < fitted.minimum).all()


def test_thumbnail_ignores_brightness_and_contrast(chests: Pixels) -> None:
    fitted = familiarity.fit(no_features, chests[:140], chests[140:200], seed=0)
    dimmed = (chests[200:] * 0.6 + 30).astype(np.uint8)

    bright, dim = (fitted.shares(images, no_features(images))[0] for images in (chests[200:], dimmed))

    assert np.abs(bright - dim).mean() < 0.15


def no_features(images: Pixels) -> NDArray[np.float32]:
    return np.zeros((len(images), 1), np.float32)


def test_the_same_seed_gives_the_same_score(fitted: familiarity.Familiarity, chests: Pixels) -> None:
    again = familiarity.fit(embed, chests[:140], chests[140:200], seed=0)

    np.testing.assert_array_equal(shares(again, chests), shares(fitted, chests))


def test_score_does_not_depend_on_the_batch(fitted: familiarity.Familiarity, chests: Pixels) -> None:
    together = shares(fitted, chests[200:])

    np.testing.assert_allclose(shares(fitted, chests[203:204])[0], together[3], atol=1e-3)


def test_every_alteration_changes_an_image_and_keeps_its_shape(chests: Pixels) -> None:
    one = np.repeat(chests[:1], len(ALTERATIONS), axis=0)

    altered = alter(one, np.random.default_rng(0))

    assert altered.shape == one.shape
    assert altered.dtype == np.uint8
    assert all((each != one[0]).mean() > 0.1 for each in altered)
    assert len({each.tobytes() for each in altered}) == len(ALTERATIONS)
