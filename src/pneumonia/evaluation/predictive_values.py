"""Predictive values at other prevalences of pneumonia than that of the evaluated images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.estimate import Estimate
from pneumonia.evaluation.intervals import Statistic, decision_shares, estimate
from pneumonia.evaluation.settings import BootstrapParams


def predictive_values(
    targets: NDArray[np.integer],
    called: NDArray[np.bool_],
    groups: NDArray[np.integer],
    prevalences: Sequence[float],
    bootstrap: BootstrapParams,
) -> dict[float, dict[str, Estimate]]:
    """Return the predictive values at given prevalences, by Bayes' rule.

    Sensitivity and specificity are assumed not to depend on the prevalence; another mix of patients can violate that.

    Args:
        targets: classes, 0 or 1, shape (N,).
        called: whether each image is called PNEUMONIA, bool, shape (N,).
        groups: patient of each image, shape (N,).
        prevalences: shares of PNEUMONIA, above 0 and below 1.
        bootstrap: number of resamples, and their seed.

    Returns:
        ``ppv`` and ``npv`` by prevalence; undefined values are left out.
    """
    shares = decision_shares(targets, called)
    statistics: dict[str, Statistic] = {}
    for prevalence in prevalences:
        statistics[f"ppv {prevalence}"] = _bayes(shares["sensitivity"], shares["specificity"], prevalence)
        statistics[f"npv {prevalence}"] = _bayes(shares["specificity"], shares["sensitivity"], 1 - prevalence)
    values = estimate(statistics, groups, bootstrap)
    return {
        prevalence: {
            name: values[f"{name} {prevalence}"] for name in ("ppv", "npv") if f"{name} {prevalence}" in values
        }
        for prevalence in prevalences
    }


def _bayes(true_rate: Statistic, other_true_rate: Statistic, prior: float) -> Statistic:
    """Return the share of correct calls of a class with prevalence ``prior``, by Bayes' rule."""

    def posterior(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        correct, wrong = prior * true_rate(weights), (1 - prior) * (1 - other_true_rate(weights))
        return np.asarray(correct / (correct + wrong))

    return posterior
