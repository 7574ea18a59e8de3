"""The networks: grey pixels (N, size, size, 1) of 0..255 in, one logit of PNEUMONIA out.

Each is one flat functional graph (no model nested in a model), so that heat maps can reach every layer, and carries
its own scaling of pixel values, so that none is applied outside.
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

from pneumonia.config import BackboneParams, CnnParams, FinetuneParams
from pneumonia.errors import WeightsError


def cnn(params: CnnParams, size: int) -> keras.Model:
    """Build a small convolutional network from scratch, working at half resolution."""
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
    """Build a backbone with a new head; every layer learns, batch statistics only if asked."""
    inputs, features = _backbone(params, size)
    model = _with_head(inputs, features)
    if not params.train_batch_norm:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    return model


def feature_extractor(params: BackboneParams, size: int) -> keras.Model:
    """Build a frozen backbone that answers its pooled features (N, channels)."""
    inputs, features = _backbone(params, size)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pool")(features))
    model.trainable = False
    return model


def at_size(model: keras.Model, size: int) -> keras.Model:
    """Return the same network with the same weights for images of another side."""
    clone = keras.models.clone_model(model, input_tensors=keras.Input((size, size, 1), name="pixels"))
    clone.set_weights(model.get_weights())
    return clone


def with_linear_head(extractor: keras.Model, weights: NDArray[np.float64], bias: float) -> keras.Model:
    """Put a given linear layer, weights (channels,) and bias, on a feature extractor."""
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
    known = "imagenet" if params.weights == "imagenet" else None
    try:
        backbone = constructor(
            include_top=False,
            weights=known,
            input_tensor=inputs,
            input_shape=inputs.shape[1:],
            pooling=None,
            **params.backbone_options,
        )
    except Exception as error:  # Keras raises a bare Exception where a download fails
        if known is None or "URL fetch failure" not in str(error):
            raise WeightsError(f"{params.backbone} cannot be built with {params.backbone_options}: {error}") from error
        raise _cannot_download(params, str(error)) from error
    if params.weights not in ("imagenet", "random"):
        _load_weights(backbone, Path(os.path.expandvars(params.weights)))
    return backbone


def _cannot_download(params: BackboneParams, reason: str) -> WeightsError:
    file = re.search(r"[\w.-]+\.(h5|keras)", reason)
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"  # where Keras itself looks
    return WeightsError(
        f"the ImageNet weights of {params.backbone} are not at hand and cannot be downloaded ({reason}). "
        f"Put {file.group() if file else 'the weights file'} into {folder}, or set KERAS_HOME to a folder "
        "that has it in models/, or give a weights file by its path in params.yaml (weights: PATH), "
        "or ask for an untrained start by name (weights: random)."
    )


def _load_weights(backbone: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist. Expected imagenet, random or the path of a file.")
    try:
        with warnings.catch_warnings(action="ignore"):  # Keras warns of every layer before it raises
            backbone.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(f"{path} does not hold weights of this backbone: {error}") from error
