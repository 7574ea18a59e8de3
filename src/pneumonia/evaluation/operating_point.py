"""Where to call an image PNEUMONIA, and where to leave it open: chosen on validation, never on test."""

import math

import numpy as np
from numpy.typing import NDArray

from pneumonia.config import BandParams
from pneumonia.models.bundle import Band


def choose(targets: NDArray[np.integer], probabilities: NDArray[np.float64], minimum_sensitivity: float) -> float:
    """Return the threshold with the highest specificity at no less than a sensitivity.

    That is the highest threshold which still calls enough of the positives; it is put halfway to the next lower
    probability, so that tiny numerical differences do not turn an image.

    Args:
        targets: (N,) of 0 and 1; at least one 1.
        probabilities: (N,), 0 to 1.
        minimum_sensitivity: above 0, below 1.
    """
    positives = np.sort(probabilities[targets == 1])[::-1]
    lowest_called = positives[_needed(minimum_sensitivity, len(positives)) - 1]
    below = probabilities[probabilities < lowest_called]
    return float((lowest_called + (below.max() if len(below) else 0.0)) / 2)


def choose_band(
    targets: NDArray[np.integer], probabilities: NDArray[np.float64], threshold: float, params: BandParams
) -> Band:
    """Return the band of probabilities that are left open.

    Below it a threshold has ``params.sensitivity``, at its upper end a threshold has ``params.specificity``: who is
    called NORMAL below it, or PNEUMONIA above it, is called so with that certainty. It reaches from threshold to
    threshold where the model needs no such doubt.

    Args:
        targets: (N,) of 0 and 1; both occur.
        probabilities: (N,), 0 to 1.
        threshold: the operating point, which the band always contains, if only as its end.
        params: the sensitivity at the lower end and the specificity at the upper end.
    """
    negatives = np.sort(probabilities[targets == 0])
    highest_spared = negatives[_needed(params.specificity, len(negatives)) - 1]
    above = probabilities[probabilities > highest_spared]
    specific = (highest_spared + (above.min() if len(above) else 1.0)) / 2
    sensitive = choose(targets, probabilities, params.sensitivity)
    return Band(min(sensitive, threshold), max(float(specific), threshold))


def _needed(share: float, count: int) -> int:
    return math.ceil(share * count - 1e-9)  # 0.55 * 100 is a little above 55 in floats
