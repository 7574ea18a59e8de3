"""Logs of predictions as models leave them behind, without images."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np

from pneumonia.monitoring.log import Label, Log
from pneumonia.monitoring.record import Answering, Record, record

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WEIGHTS = "5e" * 32
ANSWERING = Answering("bright", None, WEIGHTS, 0.5)


def prediction(number: int, probability: float, answering: Answering = ANSWERING) -> Record:
    """Return an answered prediction; one comes each hour."""
    blank = record(
        answering,
        None,
        None,
        None,
        id=UUID(int=number),
        source="batch",
        latency_ms=None,
        time=BEGAN + timedelta(hours=number),
    )
    decision = "PNEUMONIA" if probability >= answering.threshold else "NORMAL"
    return Record(**vars(blank) | {"status": "answered", "decision": decision, "probability": probability})


def fill(
    log: Log, targets: Sequence[int], probabilities: Sequence[float], *, labelled: int, weights: str = WEIGHTS
) -> None:
    """Log predictions, and label the first of them a week after each."""
    answering = Answering("bright", None, weights, 0.5)
    log.add([prediction(number, float(share), answering) for number, share in enumerate(probabilities)])
    log.add_labels(
        [
            Label(
                UUID(int=number),
                "reader",
                BEGAN + timedelta(hours=number, days=7),
                "PNEUMONIA" if target else "NORMAL",
                blinded=bool(number % 2),
            )
            for number, target in enumerate(targets[:labelled])
        ]
    )


def drawn(
    images: int, sensitivity: float, specificity: float, seed: int, *, scatter: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Draw targets and probabilities of a model that is right with these chances; half of the images show pneumonia.

    The less ``scatter`` there is, the nearer to the threshold a wrong answer lies, and the better the model ranks.
    """
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, images)
    right = rng.random(images) < np.where(targets == 1, sensitivity, specificity)
    side = np.where(targets == 1, right, ~right)
    far = np.where(right, 0.25 + 0.2 * rng.random(images), scatter * rng.random(images))
    return targets, np.where(side, 0.5 + far, 0.5 - far - 1e-6)
