"""Do the probabilities mean what they say: measured, and mended on validation.

Validation images look like the training images. What is fitted to them holds for images like them; the judgement
shows on the test set how far it carries.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logit
from sklearn.isotonic import isotonic_regression
from sklearn.model_selection import StratifiedGroupKFold

from pneumonia.config import CalibrationMethod
from pneumonia.models.calibration import Calibration

BINS = 10
"""Equal-width bins of probability, for reliability tables and the calibration error."""

FOLDS = 5
TEMPERATURES = (0.25, 100.0)
"""Bounds of what is fitted: classes that are cut apart without a gap would ask for a step."""


def choose(
    logits: NDArray[np.float64],
    targets: NDArray[np.integer],
    groups: NDArray[np.integer],
    methods: Sequence[CalibrationMethod],
    seed: int,
) -> tuple[Calibration, dict[str, float]]:
    """Fit the method that has the lowest log loss on patients that it was not fitted to.

    Args:
        logits: (N,) of the validation images.
        targets: (N,) of 0 and 1.
        groups: (N,) patients; a patient is never in both parts of a fold.
        methods: candidates; of equals, the first wins.
        seed: of the folds.

    Returns:
        The winner, fitted to all images, and the cross-validated log loss (nats) of each candidate. With a single
        patient of a class nothing can be cross-validated: the first candidate, and no losses.
    """
    patients = min(len(np.unique(groups[targets == label])) for label in (0, 1))
    if patients < 2:
        return fit(methods[0], logits, targets), {}
    folds = StratifiedGroupKFold(min(FOLDS, patients), shuffle=True, random_state=seed)
    parts = list(folds.split(logits, targets, groups))
    losses = {method: _cross_validated(method, logits, targets, parts) for method in methods}
    best = min(methods, key=losses.__getitem__)
    return fit(best, logits, targets), {str(method): loss for method, loss in losses.items()}


def fit(method: CalibrationMethod, logits: NDArray[np.float64], targets: NDArray[np.integer]) -> Calibration:
    """Fit one method to logits (N,) and targets (N,) of 0 and 1.

    Temperature: Guo et al., On Calibration of Modern Neural Networks (2017). Platt: Probabilistic Outputs for Support
    Vector Machines (1999), the temperature with an intercept; networks that learn with class weights answer for
    classes of equal size, and only the intercept can undo that. Isotonic: `_isotonic`.

    All are fitted to Platt's soft targets, so that separable classes, too, give finite answers.
    """
    soft = _soft_targets(targets)
    if method == "isotonic":
        return _isotonic(logits, soft)
    if method == "none":
        return Calibration()
    bounds = [tuple(np.log(TEMPERATURES)), (None, None) if method == "platt" else (0.0, 0.0)]
    found = minimize(lambda x: _log_loss(soft, logits / np.exp(x[0]) + x[1]), [0.0, 0.0], bounds=bounds)
    return Calibration(method, float(np.exp(found.x[0])), float(found.x[1]))


def calibration_error(targets: NDArray[np.integer], probabilities: NDArray[np.float64]) -> float:
    """Return the expected calibration error, 0 to 1, lower is better.

    That is the distance between mean probability of PNEUMONIA and observed share of PNEUMONIA per bin, averaged over
    the images (Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015), in `BINS` bins of
    equal width (Guo et al. 2017).
    """
    excess = np.bincount(bins(probabilities), probabilities - targets, BINS)
    return float(np.abs(excess).sum() / len(targets))


def bins(probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the bin (N,), 0 to `BINS` - 1, of each probability; 1.0 belongs to the last."""
    return np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)


def _cross_validated(
    method: CalibrationMethod,
    logits: NDArray[np.float64],
    targets: NDArray[np.integer],
    parts: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> float:
    held_out = np.empty(len(logits))
    for fitted, rest in parts:
        held_out[rest] = fit(method, logits[fitted], targets[fitted]).logits(logits[rest])
    return _log_loss(targets, held_out)


def _isotonic(logits: NDArray[np.float64], soft: NDArray[np.float64]) -> Calibration:
    """Fit a centred isotonic regression (Oron and Flournoy 2017).

    Isotonic regression answers steps, and the ties within a step would lower the AUC. Here each step shrinks to a knot
    at the mean of its logits, and straight lines join the knots. Classes without any order give one step, and with it
    no calibration.
    """
    order = np.argsort(logits, kind="stable")
    values, first = np.unique(logits[order], return_index=True)
    weights = np.diff(np.append(first, len(logits))).astype(float)
    heights = isotonic_regression(np.add.reduceat(soft[order], first) / weights, sample_weight=weights)
    steps, step = np.unique(heights.round(12), return_inverse=True)  # within a step they may differ in the last bit
    if len(steps) < 2:
        return Calibration()
    centres = np.bincount(step, values * weights) / np.bincount(step, weights)
    return Calibration("isotonic", knots=tuple(zip(centres.tolist(), logit(steps).tolist(), strict=True)))


def _soft_targets(targets: NDArray[np.integer]) -> NDArray[np.float64]:
    positives = int(targets.sum())
    negatives = len(targets) - positives
    return np.where(targets == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def _log_loss(targets: NDArray[np.integer] | NDArray[np.float64], logits: NDArray[np.float64]) -> float:
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))
