"""Small Keras networks, and their graphs in ONNX Runtime."""

import tempfile
from pathlib import Path

import keras
import numpy as np

from pneumonia.bundle.export import export
from pneumonia.inference.network import Network
from pneumonia.training import architectures
from pneumonia.training.settings import CnnParams


def small(size: int, filters: tuple[int, ...] = (4, 8), gain: float = 1.0) -> keras.Model:
    """Return an untrained convolutional network, always the same, whose logits differ between images by ``gain``."""
    keras.utils.set_random_seed(0)
    params = CnnParams(kind="cnn", filters=list(filters), epochs=1, batch_size=4, learning_rate=0.1)
    model = architectures.cnn(params, size)
    weights, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([gain * weights, bias])
    return model


def brightness(size: int, slope: float = 0.1, cell: int = 16) -> keras.Model:
    """Return a network to which brightness is evidence for pneumonia or, with a slope below 0, against it."""
    inputs = keras.Input((size, size, 1))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.AveragePooling2D(cell)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, name="logit")(pooled))
    model.get_layer("logit").set_weights([np.array([[slope]]), np.array([-1.0])])
    return model


def in_onnx(model: keras.Model) -> Network:
    """Return the network in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as scratch:
        export(model, Path(scratch, "model.onnx"))
        return Network(Path(scratch, "model.onnx"), threads=1)
