"""Prediction logs with labels, made without images."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np

from pneumonia.monitoring.log import Label, Log
from pneumonia.monitoring.record import ModelIdentity, PredictionRecord, make_record

START = datetime(2026, 1, 1, tzinfo=UTC)
WEIGHTS = "5e" * 32
MODEL = ModelIdentity("bright", None, WEIGHTS, 0.5)


def prediction(number: int, probability: float, model: ModelIdentity = MODEL) -> PredictionRecord:
    """Return an answered prediction; there is one per hour."""
    unanswered = make_record(
        model,
        None,
        None,
        None,
        id=UUID(int=number),
        source="batch",
        latency_ms=None,
        time=START + timedelta(hours=number),
    )
    decision = "PNEUMONIA" if probability >= model.threshold else "NORMAL"
    return PredictionRecord(
        **vars(unanswered) | {"status": "answered", "decision": decision, "probability": probability}
    )


def fill(
    log: Log, targets: Sequence[int], probabilities: Sequence[float], *, labelled: int, weights: str = WEIGHTS
) -> None:
    """Log predictions, and label the first ``labelled`` of them, each a week after its prediction."""
    model = ModelIdentity("bright", None, weights, 0.5)
    log.add([prediction(number, float(probability), model) for number, probability in enumerate(probabilities)])
    log.add_labels(
        [
            Label(
                UUID(int=number),
                "reader",
                START + timedelta(hours=number, days=7),
                "PNEUMONIA" if target else "NORMAL",
                blinded=bool(number % 2),
            )
            for number, target in enumerate(targets[:labelled])
        ]
    )


def drawn(
    images: int, sensitivity: float, specificity: float, seed: int, *, scatter: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Draw targets and probabilities of a model with this performance, at a prevalence of one half.

    The smaller ``scatter`` is, the closer to the threshold wrong answers are, and the higher is the AUC.
    """
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, images)
    right = rng.random(images) < np.where(targets == 1, sensitivity, specificity)
    side = np.where(targets == 1, right, ~right)
    distance = np.where(right, 0.25 + 0.2 * rng.random(images), scatter * rng.random(images))
    return targets, np.where(side, 0.5 + distance, 0.5 - distance - 1e-6)
