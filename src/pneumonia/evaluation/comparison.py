"""Is one model better than another, judged on the same images."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pneumonia.config import BootstrapParams
from pneumonia.evaluation.intervals import DECIMALS, TAIL, Estimate, Statistic, decision_shares, estimate, roc_auc

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AucTest:
    """DeLong's test: the difference of two AUCs with its interval, and the two-sided p, None where it is undefined."""

    difference: Estimate
    p: float | None


@dataclass(frozen=True)
class McNemarTest:
    """Images that one model alone decides rightly, and the exact two-sided p of their being equally many."""

    first_alone_right: int
    second_alone_right: int
    p: float


def delong(targets: NDArray[np.integer], first: Array, second: Array) -> AucTest:
    """Test whether two models have the same AUC on the same images.

    DeLong, DeLong and Clarke-Pearson (Biometrics 1988), by midranks (Sun and Xu, IEEE Signal Processing Letters 2014).
    Images count as independent, so with several per patient the interval is a little too narrow; the patient
    bootstrap of `bootstrap_differences` has no such flaw.

    Args:
        targets: (N,) of 0 and 1.
        first: (N,) scores of a model; only their order counts.
        second: (N,) scores of the other model.

    Returns:
        AUC of the first less AUC of the second. Interval and p are None where a class has fewer than two images or
        the difference is without variance; models that order all pairs alike have p = 1.
    """
    auc_first, positives_first, negatives_first = _placements(targets, first)
    auc_second, positives_second, negatives_second = _placements(targets, second)
    difference = auc_first - auc_second
    components = (positives_first - positives_second, negatives_first - negatives_second)
    if min(len(part) for part in components) < 2:
        return AucTest(Estimate(difference), None)
    error = np.sqrt(sum(part.var(ddof=1) / len(part) for part in components))
    if error < 1e-12:
        return AucTest(Estimate(difference), 1.0 if abs(difference) < 1e-12 else None)
    reach = stats.norm.ppf(1 - TAIL) * error
    p = 2 * stats.norm.sf(abs(difference) / error)
    return AucTest(Estimate(difference, float(difference - reach), float(difference + reach)), float(p))


def mcnemar(targets: NDArray[np.integer], first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemarTest:
    """Test whether decisions (N,) bool of two models are right equally often (McNemar 1947, exact binomial).

    Images count as independent, as in `delong`.
    """
    first_right, second_right = first == (targets == 1), second == (targets == 1)
    alone = int((first_right & ~second_right).sum()), int((~first_right & second_right).sum())
    p = stats.binomtest(alone[0], sum(alone)).pvalue if sum(alone) else 1.0
    return McNemarTest(*alone, p=float(p))


def bootstrap_differences(
    targets: NDArray[np.integer],
    groups: NDArray[np.integer],
    first: tuple[Array, float],
    second: tuple[Array, float],
    bootstrap: BootstrapParams,
) -> dict[str, Estimate]:
    """Compute differences, first less second, of AUC, accuracy, sensitivity and specificity on the same resamples.

    Args:
        targets: (N,) of 0 and 1.
        groups: (N,) the patient of each image.
        first: probabilities (N,) and threshold of a model.
        second: those of the other model.
        bootstrap: how many resamples, and their seed.
    """

    def figures(probabilities: Array, threshold: float) -> dict[str, Statistic]:
        return {"roc_auc": roc_auc(targets, probabilities), **decision_shares(targets, probabilities >= threshold)}

    one, other = figures(*first), figures(*second)
    return estimate({name: _difference(one[name], other[name]) for name in one}, groups, bootstrap)


def compare(
    targets: NDArray[np.integer],
    groups: NDArray[np.integer],
    first: tuple[Array, float],
    second: tuple[Array, float],
    bootstrap: BootstrapParams,
) -> dict[str, Any]:
    """Run all of the above, as plain JSON types; arguments as for `bootstrap_differences`.

    Returns:
        ``differences`` (by figure), ``delong`` (``difference`` and ``p``) and ``mcnemar``.
    """
    auc = delong(targets, first[0], second[0])
    decisions = mcnemar(targets, first[0] >= first[1], second[0] >= second[1])
    differences = bootstrap_differences(targets, groups, first, second, bootstrap)
    return {
        "differences": {name: figure.to_json() for name, figure in differences.items()},
        "delong": {"difference": auc.difference.to_json(), "p": _rounded(auc.p)},
        "mcnemar": asdict(decisions) | {"p": _rounded(decisions.p)},
    }


def _placements(targets: NDArray[np.integer], scores: Array) -> tuple[float, Array, Array]:
    """Return the AUC, and its components per positive and per negative image (DeLong's V10 and V01)."""
    positives, negatives = scores[targets == 1], scores[targets == 0]
    ranks = stats.rankdata(np.concatenate([positives, negatives]))
    of_positives = (ranks[: len(positives)] - stats.rankdata(positives)) / len(negatives)
    of_negatives = 1 - (ranks[len(positives) :] - stats.rankdata(negatives)) / len(positives)
    return float(of_positives.mean()), of_positives, of_negatives


def _difference(one: Statistic, other: Statistic) -> Statistic:
    return lambda weights: one(weights) - other(weights)


def _rounded(p: float | None) -> float | None:
    return None if p is None else float(f"{p:.{DECIMALS}g}")
