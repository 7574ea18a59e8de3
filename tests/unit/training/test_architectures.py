import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from pneumonia.core.errors import WeightsError
from pneumonia.training import architectures
from pneumonia.training.settings import CnnParams, FinetuneParams, ProbeParams

SIZE = 32
PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 1)).astype(np.float32)
SMALL = {"backbone": "MobileNetV2", "backbone_options": {"alpha": 0.35}}


def finetune(**changes: Any) -> FinetuneParams:
    recipe = {"kind": "finetune", "weights": "random", "epochs": 1, "batch_size": 4, "learning_rate": 0.1} | SMALL
    # Built without training, so that random weights may stand for pretrained ones under frozen batch statistics.
    return FinetuneParams.model_construct(**recipe | {"train_batch_norm": False} | changes)


def probe(weights: str, **changes: Any) -> ProbeParams:
    return ProbeParams(kind="probe", weights=weights, inverse_regularization=1.0, **SMALL | changes)


def cnn(filters: list[int]) -> keras.Model:
    params = CnnParams(kind="cnn", filters=filters, epochs=1, batch_size=4, learning_rate=0.1)
    return architectures.cnn(params, SIZE)


def answers(model: keras.Model, pixels: np.ndarray = PIXELS) -> np.ndarray:
    return ops.convert_to_numpy(model(pixels, training=False))


@pytest.fixture(scope="module")
def finetuned() -> keras.Model:
    """MobileNetV2 with a head, untrained."""
    return architectures.finetune(finetune(), SIZE)


@pytest.fixture(scope="module")
def original() -> keras.Model:
    """The backbone as keras.applications builds it, with weights for which its outputs are not all zero."""
    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2(
        alpha=0.35, include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), pooling="avg"
    )
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, array.shape) for array in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def weights_file(original: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That backbone's weights."""
    path = tmp_path_factory.mktemp("weights") / "backbone.weights.h5"
    original.save_weights(path)
    return path


def test_cnn_has_a_block_per_entry_and_returns_logits() -> None:
    model = cnn([4, 8, 6])

    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [4, 8, 6]
    assert answers(model).shape == (3, 1)
    assert model.layers[-1].activation is keras.activations.linear


def test_cnn_scales_pixels_itself() -> None:
    (scaling,) = [layer for layer in cnn([4]).layers if isinstance(layer, keras.layers.Rescaling)]

    np.testing.assert_allclose(ops.convert_to_numpy(scaling(np.array([0.0, 127.5, 255.0]))), [-1, 0, 1], atol=1e-6)


def test_graphs_are_flat(finetuned: keras.Model) -> None:
    extractor = keras.Model(finetuned.input, finetuned.get_layer("pool").output)
    with_head = architectures.with_linear_head(extractor, np.zeros(extractor.output_shape[1]), 0.0)
    for model in (cnn([4]), finetuned, extractor, with_head):
        assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]


def test_finetune_returns_logits(finetuned: keras.Model) -> None:
    assert answers(finetuned).shape == (3, 1)
    assert finetuned.layers[-1].activation is keras.activations.linear


def test_a_linear_head_is_the_given_one(finetuned: keras.Model) -> None:
    extractor = keras.Model(finetuned.input, finetuned.get_layer("pool").output)
    weights = np.random.default_rng(0).normal(size=extractor.output_shape[1])

    model = architectures.with_linear_head(extractor, weights, bias=-0.5)

    np.testing.assert_allclose(answers(model)[:, 0], answers(extractor) @ weights - 0.5, atol=1e-5)


def norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_batch_normalization_is_frozen_and_other_layers_are_trainable(finetuned: keras.Model) -> None:
    before = [layer.get_weights() for layer in norms(finetuned)]

    finetuned(PIXELS, training=True)

    assert len(before) > 50
    for layer, arrays in zip(norms(finetuned), before, strict=True):
        assert not layer.trainable
        for old, new in zip(arrays, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(new, old)
    assert all(layer.trainable for layer in finetuned.layers if layer not in norms(finetuned))


def test_batch_normalization_is_trainable_with_train_batch_norm() -> None:
    model = architectures.finetune(finetune(train_batch_norm=True), SIZE)

    assert all(layer.trainable for layer in model.layers)


def test_weights_file_gives_the_original_features_of_grey_as_rgb(original: keras.Model, weights_file: Path) -> None:
    extractor = architectures.feature_extractor(probe(str(weights_file)), SIZE)

    features = answers(extractor)

    expected = answers(original, np.repeat(PIXELS, 3, axis=-1) / 127.5 - 1)
    assert features.std() > 1e-3
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert not extractor.trainable_weights


def test_another_backbone_is_built_from_its_name() -> None:
    params = finetune(backbone="MobileNetV3Small", backbone_options={"alpha": 0.75, "minimalistic": True})

    model = architectures.finetune(params, SIZE)

    assert answers(model).shape == (3, 1)
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]


@pytest.mark.parametrize("name", ["MobileNetV9", "mobilenet_v2", "Model", "__name__", ""])
def test_unknown_backbone_lists_those_available(name: str) -> None:
    with pytest.raises(WeightsError, match=f"no '{name}'.*EfficientNetB0, .*MobileNetV2, "):
        architectures.finetune(finetune(backbone=name), SIZE)


@pytest.mark.parametrize(
    "options", [{"depth": 3}, {"alpha": "wide"}, {"pooling": "avg"}, {"include_top": True}], ids=str
)
def test_error_names_invalid_options(options: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match=f"MobileNetV2 cannot be built with .*{next(iter(options))}"):
        architectures.finetune(finetune(backbone_options=options), SIZE)


def test_error_names_a_missing_weights_file(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"absent\.h5 does not exist. Set weights in params.yaml to imagenet, random"
    ):
        architectures.finetune(finetune(weights=str(tmp_path / "absent.h5")), SIZE)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    cnn([4]).save_weights(path)

    with pytest.raises(WeightsError, match=r"other\.weights\.h5 does not have weights of this backbone"):
        architectures.finetune(finetune(weights=str(path)), SIZE)


@pytest.mark.parametrize("name", ["text.weights.h5", "text.h5", "text.bin"])
def test_file_without_weights_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("no weights")

    with pytest.raises(WeightsError, match=f"{name} does not have weights"):
        architectures.finetune(finetune(weights=str(tmp_path / name)), SIZE)


@pytest.mark.parametrize("home", [True, False], ids=["KERAS_HOME set", "KERAS_HOME not set"])
def test_error_about_imagenet_weights_names_the_folder_for_them(
    home: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str, origin: str, **_: Any) -> str:
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -2] Name or service not known")  # as Keras

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", unreachable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    if home:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    folder = tmp_path / ("home" if home else ".keras") / "models"

    with pytest.raises(WeightsError) as caught:
        architectures.feature_extractor(probe("imagenet"), 96)

    message = str(caught.value)
    assert f"Put mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5 into {folder}" in message
    assert "weights: PATH" in message
    assert "weights: random" in message


PRETRAINED = """
import keras, numpy as np
from pneumonia.training import architectures
from pneumonia.training.settings import ProbeParams

small = {"backbone": "MobileNetV2", "backbone_options": {"alpha": 0.35}}
params = ProbeParams(kind="probe", weights="imagenet", inverse_regularization=1.0, **small)
pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 1)).astype(np.float32)
features = architectures.feature_extractor(params, 224)(pixels)
original = keras.applications.MobileNetV2(
    alpha=0.35, include_top=False, weights="imagenet", input_shape=(224, 224, 3), pooling="avg"
)
expected = original(keras.applications.mobilenet_v2.preprocess_input(np.repeat(pixels, 3, axis=-1)))
np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
assert np.std(expected) > 0.1
"""


@pytest.mark.real
def test_imagenet_weights_are_read_from_keras_home(mirror: Path) -> None:
    """In a process of its own, because Keras reads KERAS_HOME once."""
    environment = os.environ | {"KERAS_HOME": str(mirror / "keras")}

    run = subprocess.run([sys.executable, "-c", PRETRAINED], env=environment, capture_output=True, text=True)

    assert run.returncode == 0, run.stderr


def test_at_size_keeps_the_weights(finetuned: keras.Model) -> None:
    larger = architectures.at_size(finetuned, 2 * SIZE)

    assert larger.input.shape == (None, 2 * SIZE, 2 * SIZE, 1)
    for weights, expected in zip(larger.get_weights(), finetuned.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, expected)
    back = architectures.at_size(larger, SIZE)
    np.testing.assert_array_equal(answers(back), answers(finetuned))


def test_weights_path_expands_environment_variables(weights_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_FOLDER", str(weights_file.parent))

    model = architectures.finetune(finetune(weights=f"$SOME_FOLDER/{weights_file.name}"), SIZE)

    direct = architectures.finetune(finetune(weights=str(weights_file)), SIZE)
    for weights, expected in zip(model.get_weights()[:-2], direct.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(weights, expected)
