"""A model small enough for tests: it answers by the brightness of the image alone."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from pneumonia.inference import golden
from pneumonia.models import bundle as bundles
from pneumonia.models.calibration import Calibration

SIZE = 32


def write_bundle(folder: Path, *, slope: float, bias: float = -1.0, **card: Any) -> bundles.Bundle:
    """Write the bundle of a network whose logit is the mean grey level times ``slope``, plus ``bias``."""
    inputs = keras.Input((SIZE, SIZE, 1))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(inputs)))
    model.set_weights([np.array([[slope]]), np.array([bias])])
    file = folder.with_suffix(".keras")
    file.parent.mkdir(parents=True, exist_ok=True)
    model.save(file)
    told = {
        "name": "bright",
        "kind": "cnn",
        "image_size": SIZE,
        "calibration": Calibration(),
        "threshold": 0.5,
        "band": bundles.Band(0.5, 0.5),
        "validation": {},
        "golden": golden.pin(model, SIZE, Calibration()),
        "parameters": {"slope": slope},
        "git_commit": "c0ffee",
        "mlflow_run_id": "none",
    }
    return bundles.write(folder, file, **told | card)
