"""Where to call an image PNEUMONIA: chosen on validation, never on test."""

import math

import numpy as np
from numpy.typing import NDArray


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
    needed = math.ceil(minimum_sensitivity * len(positives) - 1e-9)  # 0.55 * 100 is a little above 55 in floats
    lowest_called = positives[needed - 1]
    below = probabilities[probabilities < lowest_called]
    return float((lowest_called + (below.max() if len(below) else 0.0)) / 2)
