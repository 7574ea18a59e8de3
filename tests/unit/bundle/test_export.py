from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from pneumonia.bundle.export import export
from pneumonia.core.errors import ModelError
from tests.support import networks

SIZE = 32
PIXELS = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)


def test_outputs_agree_with_keras() -> None:
    model = networks.small(SIZE, gain=10)
    pool, logit = model.get_layer("pool"), model.get_layer("logit")
    expected = keras.Model(model.input, [logit.output, logit(pool.input), pool.output]).predict(
        PIXELS[..., None], verbose=0
    )

    logits, evidence, features = networks.in_onnx(model).outputs(PIXELS)

    np.testing.assert_allclose(logits, expected[0][:, 0], atol=1e-5)
    np.testing.assert_allclose(evidence, expected[1][..., 0], atol=1e-5)
    np.testing.assert_allclose(features, expected[2], atol=1e-5)


def test_bytes_do_not_depend_on_what_the_process_did_before(tmp_path: Path) -> None:
    export(networks.small(SIZE), tmp_path / "first.onnx")
    networks.small(SIZE, filters=(3, 5, 7))
    export(networks.brightness(SIZE), tmp_path / "other.onnx")
    export(networks.small(SIZE), tmp_path / "second.onnx")

    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    assert (tmp_path / "first.onnx").read_bytes() != (tmp_path / "other.onnx").read_bytes()


def test_graph_names_its_input_and_outputs(tmp_path: Path) -> None:
    export(networks.small(SIZE), tmp_path / "model.onnx")

    graph = onnx.load(tmp_path / "model.onnx").graph

    assert [value.name for value in [*graph.input, *graph.output]] == ["pixels", "logit", "evidence", "features"]


@pytest.mark.parametrize("build", [lambda x: keras.layers.Dense(1)(keras.layers.Flatten()(x)), keras.layers.ReLU()])
def test_network_without_pool_and_logit_is_refused(build: Callable[..., object], tmp_path: Path) -> None:
    inputs = keras.Input((SIZE, SIZE, 1))

    with pytest.raises(ModelError, match="pool and logit"):
        export(keras.Model(inputs, build(inputs)), tmp_path / "model.onnx")
