"""Metrics of a binary classifier."""

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from pneumonia.evaluation.calibration_error import calibration_error


def binary_metrics(
    targets: NDArray[np.integer], probabilities: NDArray[np.float64], threshold: float
) -> dict[str, float]:
    """Compute the usual metrics of a diagnostic test.

    Args:
        targets: (N,) of 0 (NORMAL) and 1 (PNEUMONIA); both must occur.
        probabilities: (N,) of PNEUMONIA, 0 to 1.
        threshold: a probability at or above it counts as PNEUMONIA.

    Returns:
        ``loss`` (binary cross-entropy), ``accuracy``, ``balanced_accuracy``, ``sensitivity``, ``specificity``,
        ``precision`` (PPV), ``npv``, ``f1``, ``roc_auc``, ``pr_auc`` (average precision), ``brier`` and ``ece``
        (expected calibration error). An undefined metric (PPV without any positive call, NPV without any
        negative call) is left out.
    """
    called = probabilities >= threshold
    (tn, fp), (fn, tp) = sk.confusion_matrix(targets, called, labels=[0, 1])
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    figures = {
        "loss": sk.log_loss(targets, probabilities, labels=[0, 1]),
        "accuracy": (tp + tn) / len(targets),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": tp / (tp + fp) if tp + fp else None,
        "npv": tn / (tn + fn) if tn + fn else None,
        "f1": 2 * tp / (2 * tp + fp + fn),
        "roc_auc": sk.roc_auc_score(targets, probabilities),
        "pr_auc": sk.average_precision_score(targets, probabilities),
        "brier": sk.brier_score_loss(targets, probabilities),
        "ece": calibration_error(targets, probabilities),
    }
    return {name: float(value) for name, value in figures.items() if value is not None}
