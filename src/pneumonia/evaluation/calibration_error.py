"""Expected calibration error, and the bins of reliability diagrams."""

import numpy as np
from numpy.typing import NDArray

BINS = 10
"""Number of equal-width bins of probability."""


def calibration_error(targets: NDArray[np.integer], probabilities: NDArray[np.float64]) -> float:
    """Return the expected calibration error, 0 to 1; lower is better.

    The error is the distance between the mean probability of PNEUMONIA and the observed share of PNEUMONIA per bin,
    averaged over the images (Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015), in
    `BINS` bins of equal width (Guo et al., On Calibration of Modern Neural Networks, 2017).

    Args:
        targets: classes, 0 or 1, shape (N,).
        probabilities: of class 1, shape (N,).

    Examples:
        >>> round(calibration_error(np.array([0, 1]), np.array([0.25, 0.75])), 3)
        0.25
    """
    excess = np.bincount(bins(probabilities), probabilities - targets, BINS)
    return float(np.abs(excess).sum() / len(targets))


def bins(probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the bin of each probability, 0 to `BINS` - 1, shape (N,); 1.0 belongs to the last bin."""
    return np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)
