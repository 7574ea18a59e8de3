import keras
import numpy as np

from pneumonia.training import soup


def network(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(40, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))


def test_every_weight_is_the_mean_of_the_networks() -> None:
    models = [network(seed) for seed in range(3)]

    averaged = soup.average(models)

    for position, got in enumerate(averaged.get_weights()):
        np.testing.assert_allclose(got, sum(m.get_weights()[position] for m in models) / 3, rtol=1e-6)


def test_average_of_one_network_is_that_network() -> None:
    model = network(0)
    images = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)

    np.testing.assert_array_equal(soup.average([model]).predict(images, verbose=0), model.predict(images, verbose=0))
