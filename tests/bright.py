"""A model small enough for tests: it answers by the brightness of the image alone, and knows every image."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from pneumonia.inference import golden
from pneumonia.inference import reference as references
from pneumonia.inference.familiarity import AFAR, Familiarity
from pneumonia.models import bundle as bundles
from pneumonia.models.calibration import Calibration

SIZE = 32
CELL = 8
"""Pixels a side of what the network sees as one place."""


def write_bundle(
    folder: Path, *, slope: float, bias: float = -1.0, minimum_familiarity: float = 0.0, **card: Any
) -> bundles.Bundle:
    """Write the bundle of a network whose logit is the mean grey level times ``slope``, plus ``bias``.

    Every image is as familiar as every other; with a ``minimum_familiarity`` above 1 all are refused.
    """
    inputs = keras.Input((SIZE, SIZE, 1))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.AveragePooling2D(CELL)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, name="logit")(pooled))
    model.set_weights([np.array([[slope]]), np.array([bias])])
    file, compared = folder.with_suffix(".keras"), folder.with_suffix(".npz")
    file.parent.mkdir(parents=True, exist_ok=True)
    model.save(file)
    references.write(reference(minimum_familiarity), compared)
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
    return bundles.write(folder, file, compared, **told | card)


def reference(minimum_familiarity: float) -> references.Reference:
    """Return one in which all images look alike, and each probability meant what it says, more or less."""
    look = AFAR * AFAR + 1
    alike = np.full(1, -1.0, np.float32)
    known = Familiarity(
        pooled_mean=np.zeros(1, np.float32),
        axes=np.ones((1, 1), np.float32),
        centre=np.zeros(look, np.float32),
        whitening=np.zeros((look, look), np.float32),
        weights=np.zeros(2 * look, np.float32),
        bias=0.0,
        distances=alike,
        soundness=alike,
        smaller=alike,
        minimum=minimum_familiarity,
    )
    return references.Reference(
        normal_evidence=np.zeros((SIZE, SIZE), np.float32),
        evidence_scale=1.0,
        familiarity=known,
        bin_edges=np.array([0.0, 0.5, 1.0]),
        bin_shares=np.array([[0.1, 0.05, 0.2], [0.9, 0.8, 0.95]]),
        bin_images=np.array([60, 40]),
    )
