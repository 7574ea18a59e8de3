"""Compare models on the same images: paired differences, DeLong's test and McNemar's test."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from pneumonia.core.errors import EvidenceError
from pneumonia.core.estimate import DECIMALS, Estimate
from pneumonia.core.labels import POSITIVE, target
from pneumonia.evaluation.comparison_report import (
    AucTest,
    ComparisonReport,
    McNemarTest,
    PairedComparison,
    Selection,
)
from pneumonia.evaluation.intervals import TAIL, Statistic, decision_shares, estimate, roc_auc
from pneumonia.evaluation.settings import BootstrapParams

Array = NDArray[np.float64]
Answers = tuple[Array, NDArray[np.bool_]]
"""Scores of a model, shape (N,), of which only the order counts, and its decisions for PNEUMONIA, shape (N,)."""


def compare(
    predictions: Mapping[str, pd.DataFrame],
    reference: str,
    bootstrap: BootstrapParams,
    selected_by: Selection | None = None,
) -> ComparisonReport:
    """Compare every model with the reference on every subset.

    Args:
        predictions: by model, its predictions table (`prediction_table.read_predictions`).
        reference: the model that the others are compared with.
        bootstrap: number of resamples, and their seed.
        selected_by: the rule that selected the reference, for the report.

    Raises:
        EvidenceError: the models were evaluated on different images.
    """
    subsets = list(predictions[reference]["subset"].unique())
    return ComparisonReport(
        reference=reference,
        selected_by=selected_by,
        models={
            model: {
                subset: _compare_on(subset, (model, table), (reference, predictions[reference]), bootstrap)
                for subset in subsets
            }
            for model, table in predictions.items()
            if model != reference
        },
    )


def compare_pair(
    targets: NDArray[np.integer],
    groups: NDArray[np.integer],
    first: Answers,
    second: Answers,
    bootstrap: BootstrapParams,
) -> PairedComparison:
    """Compare two models on the same images, first less second, rounded for a report.

    Args:
        targets: classes, 0 or 1, shape (N,).
        groups: patient of each image, shape (N,).
        first: scores and decisions of the first model.
        second: scores and decisions of the second model.
        bootstrap: number of resamples, and their seed.
    """
    differences = bootstrap_differences(targets, groups, first, second, bootstrap)
    auc = delong(targets, first[0], second[0])
    decisions = mcnemar(targets, first[1], second[1])
    return PairedComparison(
        differences={name: difference.rounded() for name, difference in differences.items()},
        delong=AucTest(difference=auc.difference.rounded(), p=None if auc.p is None else _significant_digits(auc.p)),
        mcnemar=decisions.model_copy(update={"p": _significant_digits(decisions.p)}),
    )


def delong(targets: NDArray[np.integer], first: Array, second: Array) -> AucTest:
    """Test whether two models have the same AUC on the same images.

    DeLong, DeLong and Clarke-Pearson (Biometrics 1988), computed by midranks (Sun and Xu, IEEE Signal Processing
    Letters 2014). Images are treated as independent, so with several per patient the interval is slightly too narrow;
    the patient bootstrap of `bootstrap_differences` accounts for that.

    Args:
        targets: classes, 0 or 1, shape (N,).
        first: scores of the first model, shape (N,); only their order counts.
        second: scores of the second model, shape (N,).

    Returns:
        AUC of the first less AUC of the second. Interval and p are None where a class has fewer than two images or
        the difference has no variance; models that rank all pairs alike have p = 1.
    """
    auc_first, positives_first, negatives_first = _structural_components(targets, first)
    auc_second, positives_second, negatives_second = _structural_components(targets, second)
    difference = auc_first - auc_second
    components = (positives_first - positives_second, negatives_first - negatives_second)
    if min(len(part) for part in components) < 2:
        return AucTest(difference=Estimate(difference), p=None)
    error = np.sqrt(sum(part.var(ddof=1) / len(part) for part in components))
    if error < 1e-12:
        return AucTest(difference=Estimate(difference), p=1.0 if abs(difference) < 1e-12 else None)
    reach = stats.norm.ppf(1 - TAIL) * error
    p = 2 * stats.norm.sf(abs(difference) / error)
    interval = Estimate(difference, float(difference - reach), float(difference + reach))
    return AucTest(difference=interval, p=float(p))


def mcnemar(targets: NDArray[np.integer], first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemarTest:
    """Test whether the decisions (N,) of two models are correct equally often (McNemar 1947, exact binomial test).

    Images are treated as independent, as in `delong`.

    Examples:
        >>> mcnemar(np.array([1, 1, 0]), np.array([True, True, False]), np.array([False, True, False])).p
        1.0
    """
    first_right, second_right = first == (targets == 1), second == (targets == 1)
    alone = int((first_right & ~second_right).sum()), int((~first_right & second_right).sum())
    p = stats.binomtest(alone[0], sum(alone)).pvalue if sum(alone) else 1.0
    return McNemarTest(first_alone_right=alone[0], second_alone_right=alone[1], p=float(p))


def bootstrap_differences(
    targets: NDArray[np.integer],
    groups: NDArray[np.integer],
    first: Answers,
    second: Answers,
    bootstrap: BootstrapParams,
) -> dict[str, Estimate]:
    """Return differences of AUC, accuracy, sensitivity and specificity with intervals from the same resamples.

    Arguments are those of `compare_pair`.
    """

    def statistics(scores: Array, called: NDArray[np.bool_]) -> dict[str, Statistic]:
        return {"roc_auc": roc_auc(targets, scores), **decision_shares(targets, called)}

    one, other = statistics(*first), statistics(*second)
    return estimate({name: _difference(one[name], other[name]) for name in one}, groups, bootstrap)


def _compare_on(
    subset: str, first: tuple[str, pd.DataFrame], second: tuple[str, pd.DataFrame], bootstrap: BootstrapParams
) -> PairedComparison:
    one, other = (table[table["subset"] == subset].reset_index(drop=True) for _, table in (first, second))
    identity = ["path", "label", "group"]
    if not one[identity].equals(other[identity]):
        raise EvidenceError(
            f"expected the same {subset} images for {first[0]} and {second[0]}, got {len(one)} and {len(other)} that "
            "differ. Run `dvc repro evaluate` for both."
        )
    targets = one["label"].map(target).to_numpy(int)
    return compare_pair(targets, one["group"].to_numpy(), _answers(one), _answers(other), bootstrap)


def _answers(table: pd.DataFrame) -> Answers:
    return table["logit"].to_numpy(np.float64), (table["predicted"] == POSITIVE).to_numpy(bool)


def _structural_components(targets: NDArray[np.integer], scores: Array) -> tuple[float, Array, Array]:
    """Return the AUC, and its components per positive and per negative image (DeLong's V10 and V01)."""
    positives, negatives = scores[targets == 1], scores[targets == 0]
    ranks = stats.rankdata(np.concatenate([positives, negatives]))
    of_positives = (ranks[: len(positives)] - stats.rankdata(positives)) / len(negatives)
    of_negatives = 1 - (ranks[len(positives) :] - stats.rankdata(negatives)) / len(positives)
    return float(of_positives.mean()), of_positives, of_negatives


def _difference(one: Statistic, other: Statistic) -> Statistic:
    return lambda weights: one(weights) - other(weights)


def _significant_digits(p: float) -> float:
    return float(f"{p:.{DECIMALS}g}")
