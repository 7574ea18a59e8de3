import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from pneumonia.inference.evidence import average_over_shifts, enlarge, heat
from pneumonia.inference.network import Network
from tests.support import networks

SIZE = 64
PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """A convolutional network with a random head of some size, and 8 x 8 cells."""
    model = networks.small(SIZE, gain=3)
    weights, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([weights, bias + 0.7])
    return model


def detector(slope: float = 0.1) -> Network:
    return networks.in_onnx(networks.brightness(SIZE, slope))


def with_spot(row: int, column: int) -> NDArray[np.uint8]:
    image = np.zeros((1, SIZE, SIZE), np.uint8)
    image[0, row - 3 : row + 4, column - 3 : column + 4] = 255
    return image


def test_mean_of_a_map_is_the_logit(network: keras.Model) -> None:
    opened = networks.in_onnx(network)
    logits = network.predict(PIXELS[..., None], verbose=0)[:, 0]

    exact = opened.evidence(PIXELS, shifted=False)

    assert exact.shape == PIXELS.shape
    np.testing.assert_allclose(exact.mean(axis=(1, 2)), logits, rtol=1e-4)


def test_map_equals_grad_cam_and_hirescam_plus_the_bias(network: keras.Model) -> None:
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
    cells = features.shape[1] * features.shape[2]

    evidence = networks.in_onnx(network).evidence(PIXELS, shifted=False)

    for reference in (hirescam, grad_cam):
        enlarged = [
            Image.fromarray(cells * each).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for each in reference
        ]
        np.testing.assert_allclose(evidence - bias, np.stack([np.asarray(each) for each in enlarged]), atol=1e-4)


def test_shifted_maps_agree_with_keras(network: keras.Model) -> None:
    weights, bias = network.get_layer("logit").get_weights()
    to_features = keras.Model(network.input, network.get_layer("pool").input)

    def maps(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return enlarge(to_features.predict(pixels[..., None], verbose=0) @ weights[:, 0] + bias, SIZE)

    expected = average_over_shifts(maps, PIXELS, 8)

    np.testing.assert_allclose(networks.in_onnx(network).evidence(PIXELS), expected, atol=1e-5)


def test_map_is_strongest_at_the_bright_spot() -> None:
    opened = detector()
    for row, column in ((20, 20), (12, 50), (33, 31), (50, 24)):
        evidence = opened.evidence(with_spot(row, column))[0]
        strongest = np.argwhere(evidence == evidence.max()).mean(axis=0)
        assert np.hypot(*(strongest - (row, column))) <= 8


def test_shifts_improve_localisation() -> None:
    opened = detector()
    rng = np.random.default_rng(1)

    def error(shifted: bool) -> float:
        distances = []
        for row, column in rng.integers(10, SIZE - 10, (12, 2)):
            evidence = opened.evidence(with_spot(row, column), shifted=shifted)[0]
            strongest = np.argwhere(evidence == evidence.max()).mean(axis=0)
            distances.append(np.hypot(*(strongest - (row, column))))
        return float(np.mean(distances))

    assert error(shifted=True) < 0.8 * error(shifted=False)


def test_evidence_against_pneumonia_is_below_zero_and_gives_no_heat() -> None:
    evidence = detector(slope=-0.1).evidence(with_spot(20, 20))
    assert evidence.min() < 0
    assert evidence.max() <= 0
    assert (heat(evidence) == 0).all()


def test_map_does_not_depend_on_the_batch(network: keras.Model) -> None:
    opened = networks.in_onnx(network)
    together = opened.evidence(PIXELS, batch_size=2)
    np.testing.assert_allclose(opened.evidence(PIXELS[1:2])[0], together[1], atol=1e-4)


def test_heat_is_relative_to_the_maximum_or_to_a_common_scale() -> None:
    evidence = np.array([[[-3, 0], [1, 4]], [[-1, -2], [0.5, 0.25]]], np.float32)
    np.testing.assert_allclose(heat(evidence), [[[0, 0], [0.25, 1]], [[0, 0], [1, 0.5]]])
    np.testing.assert_allclose(heat(evidence, scale=2), [[[0, 0], [0.5, 1]], [[0, 0], [0.25, 0.125]]])
