"""The card of a bundle that need not exist: for what only reads cards."""

from typing import Any

from pneumonia.models.bundle import Band, Card, DataLineage
from pneumonia.models.calibration import Calibration


def card(**told: Any) -> Card:
    """Return a card that says what a test tells of it; the rest is the same for all."""
    common: dict[str, Any] = {
        "name": "cnn",
        "kind": "cnn",
        "image_size": 32,
        "calibration": Calibration("platt", temperature=2.0, intercept=0.5),
        "threshold": 0.6,
        "band": Band(0.4, 0.7),
        "validation": {},
        "golden": {},
        "data": DataLineage("phantom", "", "0", {}),
        "parameters": {},
        "git_commit": None,
        "mlflow_run_id": "0",
        "model_sha256": "0",
        "reference_sha256": "0",
    }
    return Card(**common | told)
