"""How good the model was, by the labels that came later.

The log knows no patients, so every image counts as a patient of its own: where patients have several images, the
intervals are too narrow.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from pneumonia.config import BootstrapParams
from pneumonia.evaluation import intervals

DECIMALS = 6
NORMAL_QUANTILE = 1.959964
"""Of the normal distribution, for 95%."""


@dataclass(frozen=True)
class Figure:
    """A figure, the ends of its 95% interval (None where they cannot be told), and the images that it rests on."""

    value: float
    low: float | None
    high: float | None
    images: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types, rounded."""
        return {
            key: round(value, DECIMALS) if isinstance(value, float) else value for key, value in asdict(self).items()
        }


def measure(
    targets: NDArray[np.integer],
    probabilities: NDArray[np.float64],
    called: NDArray[np.bool_],
    bootstrap: BootstrapParams,
) -> dict[str, Figure]:
    """Measure a model on labelled images; a figure that they do not tell is left out.

    ``sensitivity``, ``specificity`` and ``ppv`` have Wilson's interval (Wilson, JASA 22, 1927), which holds for few
    images too; ``roc_auc``, ``brier`` and ``excess`` (mean probability less share of pneumonia: calibration in the
    large) that of a bootstrap over images.

    Args:
        targets: (N,) of 0 and 1.
        probabilities: (N,) of PNEUMONIA.
        called: (N,) bool, who is called PNEUMONIA.
        bootstrap: how many resamples, and their seed.
    """
    shares = {
        "sensitivity": called[targets == 1],
        "specificity": ~called[targets == 0],
        "ppv": targets[called] == 1,
    }
    figures = {name: share(hits) for name, hits in shares.items() if len(hits)}
    return figures | _resampled(targets, probabilities, bootstrap)


def share(hits: NDArray[np.bool_]) -> Figure:
    """Return the share of hits (N,), N of 1 or more."""
    found = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return Figure(float(hits.mean()), float(found.low), float(found.high), len(hits))


def _resampled(
    targets: NDArray[np.integer], probabilities: NDArray[np.float64], bootstrap: BootstrapParams
) -> dict[str, Figure]:
    if not len(targets):
        return {}
    statistics: dict[str, intervals.Statistic] = {
        "roc_auc": intervals.roc_auc(targets, probabilities),
        "brier": _mean((probabilities - targets) ** 2),
        "excess": _mean(probabilities - targets),
    }
    found = intervals.estimate(statistics, np.arange(len(targets)), bootstrap)
    return {name: Figure(said.value, said.low, said.high, len(targets)) for name, said in found.items()}


def _mean(values: NDArray[np.float64]) -> intervals.Statistic:
    return lambda weights: weights @ values / weights.sum(axis=1)
