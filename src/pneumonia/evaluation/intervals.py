"""95% intervals from a bootstrap over patients.

Images of one patient are correlated, so patients are drawn with replacement, each with all its images (the cluster
bootstrap; Davison and Hinkley, Bootstrap Methods, 1997, section 3.8). The 2.5% and 97.5% percentiles of a statistic
are its interval. A resample is a row of weights: how often each image occurs in it. Every statistic is computed for
many such rows (B, N) at once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.estimate import Estimate
from pneumonia.evaluation.calibration_error import calibration_error
from pneumonia.evaluation.settings import BootstrapParams

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
MAXIMUM_UNDEFINED = 0.05
"""Largest share of resamples in which a figure may be undefined, for example because a class is missing."""

WEIGHTS_AT_ONCE = 4_000_000
"""Maximum number of weights (8 bytes each) in memory."""

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""From weights (B, N) to values (B,), NaN where undefined."""


@dataclass(frozen=True)
class Share:
    """A statistic that is a proportion of images, such as sensitivity or accuracy.

    Attributes:
        hits: images in the numerator if they are also in ``among``, bool, shape (N,).
        among: images in the denominator, bool, shape (N,).
    """

    hits: NDArray[np.bool_]
    among: NDArray[np.bool_]

    def __call__(self, weights: Array) -> Array:
        """Compute the share for each row of weights (B, N)."""
        return _ratio(weights @ (self.hits & self.among), weights @ self.among)


def estimate(
    statistics: Mapping[str, Statistic], groups: NDArray[np.integer], bootstrap: BootstrapParams
) -> dict[str, Estimate]:
    """Compute statistics and their intervals, all from the same resamples.

    Resamples in which a statistic is undefined are left out for that statistic; if they are more than
    `MAXIMUM_UNDEFINED` of all, it has no interval. The bootstrap gives no interval for a statistic that does not vary:
    a share of 0 or 1 then gets the exact binomial interval with patients as trials (Clopper and Pearson 1934), and any
    other statistic gets none.

    Args:
        statistics: by name; see `Statistic`.
        groups: (N,) the patient of each image.
        bootstrap: how many resamples, and their seed.

    Returns:
        By name, in the same order; statistics that are undefined on the images themselves are left out.
    """
    everything = np.ones((1, len(groups)))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {name: float(statistic(everything)[0]) for name, statistic in statistics.items()}
        blocks = [
            [statistic(weights) for statistic in statistics.values()] for weights in resampled(groups, bootstrap)
        ]
    samples = dict(zip(statistics, np.concatenate(blocks, axis=1), strict=True))
    return {
        name: Estimate(value, *_interval(value, samples[name], statistics[name], groups))
        for name, value in values.items()
        if not np.isnan(value)
    }


def resampled(groups: NDArray[np.integer], bootstrap: BootstrapParams) -> Iterator[Array]:
    """Draw patients with replacement, and yield how often each image occurs (B, N), in blocks of resamples."""
    patients, patient = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(bootstrap.seed)
    at_once = max(1, WEIGHTS_AT_ONCE // len(groups))
    for start in range(0, bootstrap.resamples, at_once):
        count = min(at_once, bootstrap.resamples - start)
        drawn = rng.integers(0, len(patients), (count, len(patients)))
        drawn += np.arange(count)[:, None] * len(patients)
        times = np.bincount(drawn.ravel(), minlength=count * len(patients)).reshape(count, -1)
        yield times[:, patient].astype(np.float64)


def binary_figures(
    targets: NDArray[np.integer],
    probabilities: Array,
    threshold: float,
    groups: NDArray[np.integer],
    bootstrap: BootstrapParams,
) -> dict[str, Estimate]:
    """Compute the metrics of `metrics.binary_metrics` with intervals; unlike there, a class may be missing.

    The calibration error has no interval: its distances are never negative, so resampling increases it and the
    percentiles lie above the value.

    Args:
        targets: (N,) of 0 and 1.
        probabilities: (N,) of PNEUMONIA.
        threshold: a probability at or above it counts as PNEUMONIA.
        groups: (N,) the patient of each image.
        bootstrap: how many resamples, and their seed.
    """
    called = probabilities >= threshold
    shares = decision_shares(targets, called)
    certain = np.clip(probabilities, np.finfo(float).eps, 1 - np.finfo(float).eps)  # as in scikit-learn
    losses = -np.log(np.where(targets == 1, certain, 1 - certain))
    statistics: dict[str, Statistic] = {
        "loss": _mean(losses),
        "accuracy": shares["accuracy"],
        "balanced_accuracy": lambda w: (shares["sensitivity"](w) + shares["specificity"](w)) / 2,
        "sensitivity": shares["sensitivity"],
        "specificity": shares["specificity"],
        "precision": Share(targets == 1, called),
        "npv": Share(targets == 0, ~called),
        "f1": lambda w: _ratio(2 * (w @ (called & (targets == 1))), w @ (called.astype(int) + targets)),
        "roc_auc": roc_auc(targets, probabilities),
        "pr_auc": average_precision(targets, probabilities),
        "brier": _mean((probabilities - targets) ** 2),
    }
    figures = estimate(statistics, groups, bootstrap)
    return figures | {"ece": Estimate(calibration_error(targets, probabilities))}


def decision_shares(targets: NDArray[np.integer], called: NDArray[np.bool_]) -> dict[str, Share]:
    """Return accuracy, sensitivity and specificity of decisions (N,) bool."""
    right = called == (targets == 1)
    return {
        "accuracy": Share(right, np.ones_like(right)),
        "sensitivity": Share(called, targets == 1),
        "specificity": Share(~called, targets == 0),
    }


def roc_auc(targets: NDArray[np.integer], scores: Array) -> Statistic:
    """Return the area under the ROC curve: the share of pairs in the right order, ties counting half."""
    by_score = _ByScore(targets, scores)

    def area(weights: Array) -> Array:
        positives, negatives = by_score.counts(weights)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        return _ratio((positives * below).sum(axis=1), positives.sum(axis=1) * negatives.sum(axis=1))

    return area


def average_precision(targets: NDArray[np.integer], scores: Array) -> Statistic:
    """Return the average precision: precision at each score, weighted by the positives that have that score."""
    by_score = _ByScore(targets, scores)

    def area(weights: Array) -> Array:
        positives, negatives = by_score.counts(weights)
        called_rightly = _cumulated_from_above(positives)
        called = called_rightly + _cumulated_from_above(negatives)
        precision = np.where(positives > 0, _ratio(called_rightly, called), 0)
        return _ratio((positives * precision).sum(axis=1), positives.sum(axis=1))

    return area


class _ByScore:
    """Weights of positives and negatives added up per distinct score, lowest first."""

    def __init__(self, targets: NDArray[np.integer], scores: Array) -> None:
        self._order = np.argsort(scores, kind="stable")
        _, self._first = np.unique(scores[self._order], return_index=True)
        self._positive = targets[self._order] == 1

    def counts(self, weights: Array) -> tuple[Array, Array]:
        ordered = weights[:, self._order]
        positives = np.add.reduceat(ordered * self._positive, self._first, axis=1)
        negatives = np.add.reduceat(ordered * ~self._positive, self._first, axis=1)
        return positives, negatives


def _cumulated_from_above(counts: Array) -> Array:
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]


def _mean(values: Array) -> Statistic:
    return lambda weights: _ratio(weights @ values, weights.sum(axis=1))


def _ratio(numerator: Array, denominator: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(numerator / denominator)


def _interval(
    value: float, samples: Array, statistic: Statistic, groups: NDArray[np.integer]
) -> tuple[float | None, float | None]:
    defined = samples[~np.isnan(samples)]
    if len(defined) < (1 - MAXIMUM_UNDEFINED) * len(samples):
        return None, None
    if np.ptp(defined) > 1e-12:
        low, high = np.quantile(defined, [TAIL, 1 - TAIL])
        return float(low), float(high)
    if isinstance(statistic, Share) and value in (0, 1):
        limit = TAIL ** (1 / len(np.unique(groups[statistic.among])))
        return (limit, 1.0) if value == 1 else (0.0, 1 - limit)
    return None, None
