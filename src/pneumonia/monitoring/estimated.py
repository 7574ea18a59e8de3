"""How good the model is likely to be, before anybody has labelled anything: told from its own probabilities.

If a probability means what it says, an image with 0.9 shows pneumonia nine times out of ten, and the expected numbers
of right and wrong calls add up from the probabilities alone: confidence-based performance estimation (CBPE: NannyML,
documentation, How it works, Performance estimation; Kivimaki, Bialek, Kuberski and Nurminen, Performance Estimation in
Binary Classification Using Calibrated Confidence, 2025). The labels are then sums of independent coins, from which
the intervals come, as in Kivimaki, Bialek, Nurminen and Kuberski, Confidence-based Estimators for Predictive
Performance in Model Monitoring (2024).

It holds as long as the calibration does. Where images have changed so that the probabilities no longer mean what they
say, it is wrong without showing it; only labels do.
"""

import numpy as np
from numpy.typing import NDArray

from pneumonia.monitoring.performance import NORMAL_QUANTILE, Figure


def estimate(probabilities: NDArray[np.float64], called: NDArray[np.bool_]) -> dict[str, Figure]:
    """Estimate sensitivity, specificity and ppv without labels; what no image tells is left out.

    The interval is where labels of these very images would put the figure 19 times out of 20 if the probabilities were
    right. Sensitivity and specificity are ratios of two such sums, to the first order of their variances (the delta
    method).

    Args:
        probabilities: (N,) of PNEUMONIA, calibrated.
        called: (N,) bool, who is called PNEUMONIA.
    """
    figures = {
        "sensitivity": _ratio(probabilities, called),
        "specificity": _ratio(1 - probabilities, ~called),
        "ppv": _mean(probabilities[called]),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _ratio(chances: NDArray[np.float64], hit: NDArray[np.bool_]) -> Figure | None:
    """Estimate the share of hits among the images of a class, each of which belongs to it with its chance."""
    hits, misses = chances[hit].sum(), chances[~hit].sum()
    if hits + misses == 0:
        return None
    variance = chances * (1 - chances)
    spread = np.sqrt(misses**2 * variance[hit].sum() + hits**2 * variance[~hit].sum()) / (hits + misses) ** 2
    return _figure(hits / (hits + misses), spread, len(chances))


def _mean(chances: NDArray[np.float64]) -> Figure | None:
    if not len(chances):
        return None
    return _figure(chances.mean(), np.sqrt((chances * (1 - chances)).sum()) / len(chances), len(chances))


def _figure(value: float, spread: float, images: int) -> Figure:
    margin = NORMAL_QUANTILE * spread
    return Figure(float(value), float(max(value - margin, 0)), float(min(value + margin, 1)), images)
