"""What an answer is worth where pneumonia is rarer, or more frequent, than among the judged images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumonia.config import BootstrapParams
from pneumonia.evaluation.intervals import Estimate, Statistic, decision_shares, estimate


def predictive_values(
    targets: NDArray[np.integer],
    called: NDArray[np.bool_],
    groups: NDArray[np.integer],
    prevalences: Sequence[float],
    bootstrap: BootstrapParams,
) -> dict[float, dict[str, Estimate]]:
    """Compute the predictive values where pneumonia is as frequent as told, by Bayes' rule.

    Sensitivity and specificity are taken to be the same there, which a change of the mix of patients can spoil.

    Args:
        targets: (N,) of 0 and 1.
        called: (N,) bool, who is called PNEUMONIA.
        groups: (N,) the patient of each image.
        prevalences: shares of PNEUMONIA, above 0, below 1.
        bootstrap: how many resamples, and their seed.

    Returns:
        Per prevalence ``ppv`` and ``npv``; one that is undefined is left out.
    """
    shares = decision_shares(targets, called)
    statistics: dict[str, Statistic] = {}
    for prevalence in prevalences:
        statistics[f"ppv {prevalence}"] = _bayes(shares["sensitivity"], shares["specificity"], prevalence)
        statistics[f"npv {prevalence}"] = _bayes(shares["specificity"], shares["sensitivity"], 1 - prevalence)
    found = estimate(statistics, groups, bootstrap)
    return {
        prevalence: {name: found[f"{name} {prevalence}"] for name in ("ppv", "npv") if f"{name} {prevalence}" in found}
        for prevalence in prevalences
    }


def _bayes(hit: Statistic, rejected: Statistic, prior: float) -> Statistic:
    """Return the probability of a class of prior share ``prior`` among those that are called it."""

    def posterior(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        rightly, wrongly = prior * hit(weights), (1 - prior) * (1 - rejected(weights))
        return np.asarray(rightly / (rightly + wrongly))

    return posterior
