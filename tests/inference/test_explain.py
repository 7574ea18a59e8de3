from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config import CnnParams
from pneumonia.errors import ModelError
from pneumonia.inference.explain import Explainer, heat
from pneumonia.models import architectures

SIZE = 64
PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """A convolutional network with a random head of some size: 8 x 8 places."""
    keras.utils.set_random_seed(0)
    params = CnnParams(kind="cnn", filters=[4, 8], epochs=1, batch_size=4, learning_rate=0.1)
    model = architectures.cnn(params, SIZE)
    weights, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([3 * weights, bias + 0.7])
    return model


def detector(slope: float = 0.1) -> keras.Model:
    """A network with 4 x 4 places that takes what is bright for pneumonia, or, with a slope below 0, against it."""
    inputs = keras.Input((SIZE, SIZE, 1))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.AveragePooling2D(16)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, name="logit")(pooled))
    model.get_layer("logit").set_weights([np.array([[slope]]), np.array([-1.0])])
    return model


def with_spot(row: int, column: int) -> NDArray[np.uint8]:
    image = np.zeros((1, SIZE, SIZE), np.uint8)
    image[0, row - 3 : row + 4, column - 3 : column + 4] = 255
    return image


def test_the_mean_of_a_map_is_what_the_network_weighed(network: keras.Model) -> None:
    explainer = Explainer(network)
    logits = network.predict(PIXELS[..., None], verbose=0)[:, 0]

    exact = explainer.evidence(PIXELS, shifted=False)

    assert exact.shape == PIXELS.shape
    np.testing.assert_allclose(exact.mean(axis=(1, 2)), logits, rtol=1e-4)


def test_the_map_is_grad_cam_and_hirescam_and_the_bias(network: keras.Model) -> None:
    """Both taken from the gradients, as their papers define them, without the last rectification."""
    bias = network.get_layer("logit").get_weights()[1][0]
    to_features = keras.Model(network.input, network.get_layer("pool").input)
    with tf.GradientTape() as tape:
        features = to_features(PIXELS[..., None].astype(np.float32))
        tape.watch(features)
        logits = network.get_layer("logit")(network.get_layer("pool")(features))
    gradients = tape.gradient(logits, features).numpy()
    features = features.numpy()
    hirescam = (gradients * features).sum(axis=-1)
    grad_cam = (gradients.mean(axis=(1, 2), keepdims=True) * features).sum(axis=-1)
    places = features.shape[1] * features.shape[2]

    found = Explainer(network).evidence(PIXELS, shifted=False)

    for reference in (hirescam, grad_cam):
        enlarged = [
            Image.fromarray(places * each).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for each in reference
        ]
        np.testing.assert_allclose(found - bias, np.stack([np.asarray(each) for each in enlarged]), atol=1e-4)


def test_the_map_is_strongest_where_the_network_found_something() -> None:
    explainer = Explainer(detector())
    for row, column in ((20, 20), (12, 50), (33, 31), (50, 24)):
        found = explainer.evidence(with_spot(row, column))[0]
        strongest = np.argwhere(found == found.max()).mean(axis=0)
        assert np.hypot(*(strongest - (row, column))) <= 8


def test_shifts_make_the_map_finer() -> None:
    explainer = Explainer(detector())
    rng = np.random.default_rng(1)

    def error(shifted: bool) -> float:
        distances = []
        for row, column in rng.integers(10, SIZE - 10, (12, 2)):
            found = explainer.evidence(with_spot(row, column), shifted=shifted)[0]
            strongest = np.argwhere(found == found.max()).mean(axis=0)
            distances.append(np.hypot(*(strongest - (row, column))))
        return float(np.mean(distances))

    assert error(shifted=True) < 0.8 * error(shifted=False)


def test_evidence_against_pneumonia_is_below_zero_and_gives_no_heat() -> None:
    found = Explainer(detector(slope=-0.1)).evidence(with_spot(20, 20))
    assert found.min() < 0
    assert found.max() <= 0
    assert (heat(found) == 0).all()


def test_an_image_is_explained_alike_in_any_company(network: keras.Model) -> None:
    explainer = Explainer(network)
    together = explainer.evidence(PIXELS, batch_size=2)
    np.testing.assert_allclose(explainer.evidence(PIXELS[1:2])[0], together[1], atol=1e-4)


def test_heat_is_a_share_of_the_maximum_or_of_a_common_scale() -> None:
    evidence = np.array([[[-3, 0], [1, 4]], [[-1, -2], [0.5, 0.25]]], np.float32)
    np.testing.assert_allclose(heat(evidence), [[[0, 0], [0.25, 1]], [[0, 0], [1, 0.5]]])
    np.testing.assert_allclose(heat(evidence, scale=2), [[[0, 0], [0.5, 1]], [[0, 0], [0.25, 0.125]]])


@pytest.mark.parametrize("build", [lambda x: keras.layers.Dense(1)(keras.layers.Flatten()(x)), keras.layers.ReLU()])
def test_a_network_with_another_end_is_refused(build: Callable[..., object]) -> None:
    inputs = keras.Input((SIZE, SIZE, 1))
    with pytest.raises(ModelError, match="pool and logit"):
        Explainer(keras.Model(inputs, build(inputs)))
