from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from pneumonia.training import architectures
from pneumonia.training.probe import fit_probe
from pneumonia.training.settings import ProbeParams

PARAMS = ProbeParams(kind="probe", backbone="MobileNetV2", weights="random", inverse_regularization=0.1, batch_size=16)


def toy(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Noise; a third of the images are positive and somewhat brighter."""
    rng = np.random.default_rng(seed)
    targets = (np.arange(count) % 3 == 0).astype(np.float32)
    images = rng.integers(0, 200, (count, 32, 32), dtype=np.uint8)
    images += (targets[:, None, None] * 55).astype(np.uint8)
    return images, targets


def small_extractor(params: ProbeParams, size: int) -> keras.Model:
    """Random features in place of a backbone."""
    inputs = keras.Input((size, size, 1))
    x = keras.layers.Conv2D(6, 5, strides=3, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Rescaling(0.1)(x))


def logits(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    return ops.convert_to_numpy(model(images[..., None].astype(np.float32)))[:, 0].astype(np.float64)


def regression_of(features: NDArray[np.float32], targets: NDArray[np.float32]) -> LogisticRegression:
    regression = LogisticRegression(C=PARAMS.inverse_regularization, class_weight="balanced", max_iter=5000)
    return regression.fit(features.astype(np.float64), targets)


@pytest.fixture(scope="module")
def fitted() -> tuple[keras.Model, NDArray[np.float64]]:
    """A probe on small features, and its probabilities of the training images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architectures, "feature_extractor", small_extractor)
        return fit_probe(PARAMS, *toy(60, seed=0), seed=4)


def test_probabilities_are_those_of_scikit_learn(fitted: tuple[keras.Model, Any]) -> None:
    model, probabilities = fitted
    extractor = keras.Model(model.input, model.layers[-2].output)
    images, targets = toy(60, seed=0)
    unseen, _ = toy(30, seed=1)
    regression = regression_of(extractor.predict(images[..., None], verbose=0), targets)

    expected = regression.predict_proba(extractor.predict(unseen[..., None], verbose=0).astype(np.float64))[:, 1]

    np.testing.assert_allclose(1 / (1 + np.exp(-logits(model, unseen))), expected, atol=1e-3)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits(model, images))), probabilities, atol=1e-3)


def test_probe_classifies_unseen_images(fitted: tuple[keras.Model, Any]) -> None:
    images, targets = toy(60, seed=2)

    called = logits(fitted[0], images) > 0

    assert (called == targets).mean() > 0.9


def test_probe_is_one_flat_model_with_one_logit(fitted: tuple[keras.Model, Any]) -> None:
    model, _ = fitted

    assert model.output_shape == (None, 1)
    assert model.layers[-1].activation is keras.activations.linear
    assert not [layer for layer in model.layers if isinstance(layer, keras.Model)]


def test_seed_determines_random_weights(fitted: tuple[keras.Model, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "feature_extractor", small_extractor)
    images, targets = toy(60, seed=0)

    _, same = fit_probe(PARAMS, images, targets, seed=4)
    _, other = fit_probe(PARAMS, images, targets, seed=5)

    np.testing.assert_array_equal(same, fitted[1])
    assert np.abs(other - same).max() > 1e-3
