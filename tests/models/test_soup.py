import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from pneumonia.errors import WeightsError
from pneumonia.models import soup


def network(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(40, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))


def test_every_weight_is_the_mean() -> None:
    models = [network(seed) for seed in range(3)]

    averaged = soup.average(models)

    for position, got in enumerate(averaged.get_weights()):
        np.testing.assert_allclose(got, sum(m.get_weights()[position] for m in models) / 3, rtol=1e-6)


def test_one_network_stays_what_it_is() -> None:
    model = network(0)
    images = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)

    np.testing.assert_array_equal(soup.average([model]).predict(images, verbose=0), model.predict(images, verbose=0))


def test_half_precision_halves_the_file_and_keeps_the_answers(tmp_path: Path) -> None:
    model = network(1)
    images = np.random.default_rng(0).random((50, 8, 8, 1), np.float32)
    model.save(tmp_path / "full.keras")
    shutil.copy(tmp_path / "full.keras", tmp_path / "half.keras")
    soup.halve(tmp_path / "half.keras")

    half = keras.saving.load_model(tmp_path / "half.keras")

    assert (tmp_path / "half.keras").stat().st_size < 0.7 * (tmp_path / "full.keras").stat().st_size
    assert {weight.dtype for weight in half.weights} == {"float32"}
    for kept, given in zip(half.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, given.astype(np.float16))
    np.testing.assert_allclose(half.predict(images, verbose=0), model.predict(images, verbose=0), atol=0.01)


def test_a_weight_out_of_range_is_refused(tmp_path: Path) -> None:
    model = network(1)
    model.layers[-1].set_weights([np.full_like(w, 1e6) for w in model.layers[-1].get_weights()])
    model.save(tmp_path / "model.keras")

    with pytest.raises(WeightsError, match="does not fit into float16"):
        soup.halve(tmp_path / "model.keras")
