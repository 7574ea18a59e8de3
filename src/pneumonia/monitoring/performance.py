"""Performance of a model by labels that arrived after its predictions.

The prediction log has no patient identifiers, so that each image is treated as a patient of its own: confidence
intervals are too narrow where patients have several images.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer
from scipy.stats import binomtest

from pneumonia.core.model import FrozenModel
from pneumonia.evaluation import intervals
from pneumonia.evaluation.settings import BootstrapParams

DECIMALS = 6
NORMAL_QUANTILE = 1.959964
"""97.5th percentile of the standard normal distribution, for 95% intervals."""

RoundedFloat = Annotated[float, PlainSerializer(lambda value: round(value, DECIMALS), when_used="json")]
"""A float that JSON holds with `DECIMALS` decimals."""


class Metric(FrozenModel):
    """A metric with its 95% confidence interval.

    Attributes:
        value: point estimate.
        low: lower end of the interval; None where it cannot be computed.
        high: upper end of the interval; None where it cannot be computed.
        images: number of images that it is computed from.
    """

    value: RoundedFloat
    low: RoundedFloat | None
    high: RoundedFloat | None
    images: int


def measure(
    targets: NDArray[np.integer],
    probabilities: NDArray[np.float64],
    called: NDArray[np.bool_],
    bootstrap: BootstrapParams,
) -> dict[str, Metric]:
    """Return the metrics of a model on labelled images; a metric that is undefined for them is left out.

    ``sensitivity``, ``specificity`` and ``ppv`` have Wilson score intervals (Wilson, JASA 22, 1927), which are valid
    for few images too. ``roc_auc``, ``brier`` and ``excess`` (mean probability minus prevalence: calibration in the
    large) have percentile intervals of a bootstrap over images.

    Args:
        targets: 0 for NORMAL, 1 for PNEUMONIA, shape (N,).
        probabilities: calibrated probabilities of PNEUMONIA, shape (N,), 0 to 1.
        called: whether an image is called PNEUMONIA at the operating point, shape (N,).
        bootstrap: number of resamples and seed.

    Examples:
        >>> targets, probabilities = np.array([1, 1, 0, 0]), np.array([0.9, 0.3, 0.2, 0.1])
        >>> metrics = measure(targets, probabilities, probabilities >= 0.5, BootstrapParams(resamples=100, seed=1))
        >>> metrics["sensitivity"].value, metrics["specificity"].value, metrics["roc_auc"].value
        (0.5, 1.0, 1.0)
    """
    hits_by_name = {
        "sensitivity": called[targets == 1],
        "specificity": ~called[targets == 0],
        "ppv": targets[called] == 1,
    }
    metrics = {name: proportion(hits) for name, hits in hits_by_name.items() if len(hits)}
    return metrics | _bootstrapped(targets, probabilities, bootstrap)


def proportion(hits: NDArray[np.bool_]) -> Metric:
    """Return the proportion of hits with its Wilson score interval.

    Args:
        hits: shape (N,), N at least 1.

    Examples:
        >>> metric = proportion(np.array([True] * 81 + [False] * 182))
        >>> f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
        '0.308 (0.255 to 0.366)'
    """
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return Metric(value=float(hits.mean()), low=float(interval.low), high=float(interval.high), images=len(hits))


def _bootstrapped(
    targets: NDArray[np.integer], probabilities: NDArray[np.float64], bootstrap: BootstrapParams
) -> dict[str, Metric]:
    if not len(targets):
        return {}
    statistics: dict[str, intervals.Statistic] = {
        "roc_auc": intervals.roc_auc(targets, probabilities),
        "brier": _weighted_mean((probabilities - targets) ** 2),
        "excess": _weighted_mean(probabilities - targets),
    }
    estimates = intervals.estimate(statistics, np.arange(len(targets)), bootstrap)
    return {
        name: Metric(value=estimate.value, low=estimate.low, high=estimate.high, images=len(targets))
        for name, estimate in estimates.items()
    }


def _weighted_mean(values: NDArray[np.float64]) -> intervals.Statistic:
    return lambda weights: weights @ values / weights.sum(axis=1)
