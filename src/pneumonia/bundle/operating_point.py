"""Choose the operating point and the indeterminate band on validation images, never on test images."""

import math

import numpy as np
from numpy.typing import NDArray

from pneumonia.bundle.bundle import Band
from pneumonia.bundle.settings import BandParams


def choose(targets: NDArray[np.integer], probabilities: NDArray[np.float64], minimum_sensitivity: float) -> float:
    """Return the threshold with the highest specificity at a minimum sensitivity.

    That is the highest threshold at which enough positives are labelled PNEUMONIA. It lies halfway to the next lower
    probability, so that tiny numerical differences do not change a label.

    Args:
        targets: 0 or 1, shape (N,); at least one 1.
        probabilities: 0 to 1, shape (N,).
        minimum_sensitivity: above 0, below 1.

    Examples:
        >>> choose(np.array([1, 1, 0, 0]), np.array([0.9, 0.75, 0.25, 0.1]), 0.95)
        0.5
    """
    positives = np.sort(probabilities[targets == 1])[::-1]
    lowest_positive = positives[_needed(minimum_sensitivity, len(positives)) - 1]
    below = probabilities[probabilities < lowest_positive]
    return float((lowest_positive + (below.max() if len(below) else 0.0)) / 2)


def choose_band(
    targets: NDArray[np.integer], probabilities: NDArray[np.float64], threshold: float, params: BandParams
) -> Band:
    """Return the band of probabilities whose answers are indeterminate.

    A threshold at its lower end would have ``params.sensitivity``, one at its upper end ``params.specificity``. Where
    the operating point already reaches one of them, the band ends at the operating point.

    Args:
        targets: 0 or 1, shape (N,); both occur.
        probabilities: 0 to 1, shape (N,).
        threshold: the operating point; the band contains it or ends there.
        params: sensitivity at the lower end and specificity at the upper end.
    """
    negatives = np.sort(probabilities[targets == 0])
    highest_negative = negatives[_needed(params.specificity, len(negatives)) - 1]
    above = probabilities[probabilities > highest_negative]
    specific = (highest_negative + (above.min() if len(above) else 1.0)) / 2
    sensitive = choose(targets, probabilities, params.sensitivity)
    return Band(min(sensitive, threshold), max(float(specific), threshold))


def _needed(share: float, count: int) -> int:
    return math.ceil(share * count - 1e-9)  # 0.55 * 100 is a little above 55 in floats
