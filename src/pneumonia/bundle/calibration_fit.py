"""Choose and fit the calibration of a network on validation images.

Validation images resemble the training images, and what is fitted to them holds for images like them; the evaluation
report has the calibration error on the test set.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logit
from sklearn.isotonic import isotonic_regression
from sklearn.model_selection import StratifiedGroupKFold

from pneumonia.bundle.calibration import Calibration
from pneumonia.bundle.settings import CalibrationMethod

FOLDS = 5
TEMPERATURES = (0.25, 100.0)
"""Bounds of the fitted temperature: for perfectly separable classes the best fit would be a step, at 0."""


def choose(
    logits: NDArray[np.float64],
    targets: NDArray[np.integer],
    groups: NDArray[np.integer],
    methods: Sequence[CalibrationMethod],
    seed: int,
) -> tuple[Calibration, dict[str, float]]:
    """Return the calibration with the lowest cross-validated log loss, and the losses of all candidates.

    Args:
        logits: of the validation images, shape (N,).
        targets: 0 or 1, shape (N,).
        groups: patient of each image, shape (N,); folds are split between patients.
        methods: candidates; of equal ones the first wins.
        seed: of the folds.

    Returns:
        The chosen calibration, fitted to all images, and the log loss (nats) of each candidate. With a single patient
        in a class, cross-validation is impossible: the first candidate, and no losses.
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
    """Fit one calibration method.

    Temperature: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Platt: "Probabilistic Outputs for
    Support Vector Machines", 1999, the temperature with an intercept; a network trained with class weights predicts
    for classes of equal size, and only the intercept can correct that. Isotonic: centred isotonic regression, Oron and
    Flournoy 2017. All are fitted to Platt's soft targets, so that separable classes, too, give finite log-odds.

    Args:
        method: one of `CalibrationMethod`.
        logits: shape (N,).
        targets: 0 or 1, shape (N,); both occur.
    """
    soft = _soft_targets(targets)
    if method == "isotonic":
        return _isotonic(logits, soft)
    if method == "none":
        return Calibration()
    bounds = [tuple(np.log(TEMPERATURES)), (None, None) if method == "platt" else (0.0, 0.0)]
    result = minimize(lambda x: _log_loss(soft, logits / np.exp(x[0]) + x[1]), [0.0, 0.0], bounds=bounds)
    return Calibration(method, float(np.exp(result.x[0])), float(result.x[1]))


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
    """Fit a centred isotonic regression.

    Isotonic regression is a step function, and ties within a step would lower the AUC. Here each step shrinks to a
    knot at the mean of its logits, and straight lines join the knots. Where scores do not rank the classes at all
    there is one step, and no calibration.
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
