"""Random records for the prediction log."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from pneumonia.monitoring import profile
from pneumonia.monitoring.detection import PATIENT
from pneumonia.monitoring.record import COMPONENTS, PredictionRecord

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
BUNDLE = "ab" * 32


def draw(rng: np.random.Generator, number: int = 0, **changes: Any) -> PredictionRecord:
    """Draw the record of minute ``number``; all records have the same distribution."""
    probability = float(rng.beta(0.4, 0.4))
    fields: dict[str, Any] = {
        "id": uuid.UUID(bytes=rng.bytes(16)),
        "time": START + timedelta(minutes=number),
        "source": "app",
        "model": "bright",
        "version": 3,
        "bundle_sha256": BUNDLE,
        "status": "answered",
        "refusal": None,
        "decision": "PNEUMONIA" if probability >= 0.5 else "NORMAL",
        "probability": probability,
        "threshold": 0.5,
        "familiarity": float(rng.uniform()),
        "format": "JPEG" if rng.uniform() < 0.9 else "PNG",
        "width": int(rng.integers(900, 1800)),
        "height": int(rng.integers(700, 1500)),
        "aspect": float(rng.normal(1.3, 0.1)),
        "mode": "L",
        "jpeg_quality": int(rng.integers(75, 96)),
        "brightness": float(rng.normal(120, 20)),
        "contrast": float(rng.normal(60, 8)),
        "clipped_dark": float(rng.exponential(0.02)),
        "clipped_bright": float(rng.exponential(0.01)),
        "sharpness": float(rng.lognormal(5, 0.4)),
        "maker": None,
        "view": None,
        "latency_ms": float(rng.exponential(20)),
        **dict(zip(COMPONENTS, map(float, rng.normal(size=len(COMPONENTS))), strict=True)),
    }
    return PredictionRecord(**fields | changes)


def window(rng: np.random.Generator, images: int, **changes: Any) -> pd.DataFrame:
    """Draw records as a table with the compared columns."""
    return profile.to_frame([draw(rng, number, **changes) for number in range(images)])


def reference(rng: np.random.Generator, patients: int, images_each: int = 1) -> pd.DataFrame:
    """Draw a reference profile in which all images of a patient are equal."""
    table = window(rng, patients)
    table = table.loc[table.index.repeat(images_each)].reset_index(drop=True)
    table[PATIENT] = np.repeat(np.arange(patients), images_each)
    table[profile.LABEL] = "NORMAL"
    return table
