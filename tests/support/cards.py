"""A card without a bundle, for tests of code that only reads cards."""

from typing import Any

from pneumonia.bundle.bundle import Band, Card, DataLineage
from pneumonia.bundle.calibration import Calibration


def card(**fields: Any) -> Card:
    """Return a card with the given fields; the others have fixed values."""
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
        "model_sha256": "0",
        "graph_sha256": "0",
        "reference_sha256": "0",
    }
    return Card(**common | fields)
