"""Networks from grey pixels (N, size, size, 1), 0 to 255, to one logit of PNEUMONIA (N, 1).

Each is one flat functional graph (no nested models) that ends in the layers ``pool`` and ``logit``, from which
evidence maps are computed, and scales pixel values itself.
"""

import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pneumonia.core.errors import WeightsError
from pneumonia.training.settings import BackboneParams, CnnParams, FinetuneParams


def cnn(params: CnnParams, size: int) -> keras.Model:
    """Build a small convolutional network with random weights, which works at half resolution."""
    inputs = keras.Input((size, size, 1), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = keras.layers.AveragePooling2D(2)(x)
    for block, filters in enumerate(params.filters):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"block{block}_norm")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return _with_head(inputs, x)


def finetune(params: FinetuneParams, size: int) -> keras.Model:
    """Build a backbone with a new head; all layers are trained, batch normalization only with ``train_batch_norm``."""
    inputs, features = _backbone(params, size)
    model = _with_head(inputs, features)
    if not params.train_batch_norm:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    return model


def feature_extractor(params: BackboneParams, size: int) -> keras.Model:
    """Build a frozen backbone whose output is its pooled features (N, channels)."""
    inputs, features = _backbone(params, size)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pool")(features))
    model.trainable = False
    return model


def at_size(model: keras.Model, size: int) -> keras.Model:
    """Return a network with the same layers and weights for images (N, size, size, 1)."""
    clone = keras.models.clone_model(model, input_tensors=keras.Input((size, size, 1), name="pixels"))
    clone.set_weights(model.get_weights())
    return clone


def with_linear_head(extractor: keras.Model, weights: NDArray[np.float64], bias: float) -> keras.Model:
    """Return a feature extractor with a linear layer of given weights (channels,) and bias on top."""
    head = keras.layers.Dense(1, name="logit")
    model = keras.Model(extractor.input, head(extractor.output))
    head.set_weights([weights[:, None], np.array([bias])])
    return model


def _with_head(inputs: Any, features: Any) -> keras.Model:
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(pooled))


def _backbone(params: BackboneParams, size: int) -> tuple[Any, Any]:
    constructor = getattr(keras.applications, params.backbone, None)
    if not isinstance(constructor, type(_backbone)):
        names = sorted(name for name in dir(keras.applications) if name[0].isupper())
        raise WeightsError(f"keras.applications has no {params.backbone!r}. Choose one of {', '.join(names)}.")
    inputs = keras.Input((size, size, 1), name="pixels")
    colour = keras.layers.Concatenate(name="grey_to_rgb")([inputs, inputs, inputs])
    scaled = sys.modules[constructor.__module__].preprocess_input(colour)
    backbone = _with_weights(constructor, params, scaled)
    return inputs, backbone.output


def _with_weights(constructor: Any, params: BackboneParams, inputs: Any) -> keras.Model:
    pretrained = "imagenet" if params.weights == "imagenet" else None
    try:
        backbone = constructor(
            include_top=False,
            weights=pretrained,
            input_tensor=inputs,
            input_shape=inputs.shape[1:],
            pooling=None,
            **params.backbone_options,
        )
    except Exception as error:  # Keras raises a bare Exception where a download fails
        if pretrained is None or "URL fetch failure" not in str(error):
            raise WeightsError(f"{params.backbone} cannot be built with {params.backbone_options}: {error}") from error
        raise _cannot_download(params, str(error)) from error
    if params.weights not in ("imagenet", "random"):
        _load_weights(backbone, Path(os.path.expandvars(params.weights)))
    return backbone


def _cannot_download(params: BackboneParams, reason: str) -> WeightsError:
    file = re.search(r"[\w.-]+\.(h5|keras)", reason)
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"  # where Keras itself looks
    return WeightsError(
        f"the ImageNet weights of {params.backbone} are not available and cannot be downloaded ({reason}). "
        f"Put {file.group() if file else 'the weights file'} into {folder}, or set KERAS_HOME to a folder "
        "that has it in models/, or set the path of a weights file in params.yaml (weights: PATH), "
        "or start from random weights (weights: random)."
    )


def _load_weights(backbone: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise WeightsError(
            f"weights file {path} does not exist. Set weights in params.yaml to imagenet, random or an existing file."
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # Keras warns about every layer before it raises
            backbone.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(
            f"{path} does not have weights of this backbone: {error}. Give a file that its Keras model has saved."
        ) from error
