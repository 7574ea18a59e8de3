"""Performance of a model without labels, estimated from its own probabilities.

If probabilities are calibrated, an image with probability 0.9 shows pneumonia in nine of ten cases, and the expected
numbers of true and false positives and negatives are sums of probabilities: confidence-based performance estimation
(CBPE: NannyML, documentation, How it works, Performance estimation; Kivimaki, Bialek, Kuberski and Nurminen,
Performance Estimation in Binary Classification Using Calibrated Confidence, 2025). The labels are then independent
Bernoulli variables, which gives the intervals (Kivimaki, Bialek, Nurminen and Kuberski, Confidence-based Estimators
for Predictive Performance in Model Monitoring, 2024).

The estimate is valid only while the calibration is. If images change so that it no longer holds, the estimate is wrong
and cannot show it; labels are needed for that.
"""

import numpy as np
from numpy.typing import NDArray

from pneumonia.monitoring.performance import NORMAL_QUANTILE, Metric


def estimate_metrics(probabilities: NDArray[np.float64], called: NDArray[np.bool_]) -> dict[str, Metric]:
    """Estimate sensitivity, specificity and ppv without labels; a metric that is undefined is left out.

    The 95% interval is for the metric that labels of these images would give, if the probabilities are calibrated.
    Sensitivity and specificity are ratios of two sums of probabilities; their variances come from the delta method.

    Args:
        probabilities: calibrated probabilities of PNEUMONIA, shape (N,), 0 to 1.
        called: whether an image is called PNEUMONIA at the operating point, shape (N,).

    Examples:
        >>> probabilities = np.array([0.9, 0.7, 0.3, 0.1])
        >>> estimated = estimate_metrics(probabilities, probabilities >= 0.5)
        >>> f"{estimated['sensitivity'].value:.2f} {estimated['ppv'].value:.2f}"
        '0.80 0.80'
    """
    metrics = {
        "sensitivity": _ratio(probabilities, called),
        "specificity": _ratio(1 - probabilities, ~called),
        "ppv": _mean(probabilities[called]),
    }
    return {name: metric for name, metric in metrics.items() if metric is not None}


def _ratio(membership: NDArray[np.float64], hit: NDArray[np.bool_]) -> Metric | None:
    """Estimate the share of hits in a class.

    Args:
        membership: probability that an image belongs to the class, shape (N,).
        hit: whether the decision for the image is that class, shape (N,).
    """
    hits, misses = membership[hit].sum(), membership[~hit].sum()
    if hits + misses == 0:
        return None
    variance = membership * (1 - membership)
    deviation = np.sqrt(misses**2 * variance[hit].sum() + hits**2 * variance[~hit].sum()) / (hits + misses) ** 2
    return _metric(hits / (hits + misses), deviation, len(membership))


def _mean(probabilities: NDArray[np.float64]) -> Metric | None:
    if not len(probabilities):
        return None
    deviation = np.sqrt((probabilities * (1 - probabilities)).sum()) / len(probabilities)
    return _metric(probabilities.mean(), deviation, len(probabilities))


def _metric(value: float, deviation: float, images: int) -> Metric:
    margin = NORMAL_QUANTILE * deviation
    return Metric(
        value=float(value), low=float(max(value - margin, 0)), high=float(min(value + margin, 1)), images=images
    )
