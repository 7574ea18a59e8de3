"""Paired differences of two models on the images that both have predictions for."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.estimate import Estimate
from pneumonia.core.labels import POSITIVE, target
from pneumonia.evaluation.intervals import Array, Statistic, decision_shares, estimate, roc_auc
from pneumonia.evaluation.settings import BootstrapParams

FIRST, SECOND = "_first", "_second"
"""Suffixes of the columns of the two models."""


def align(first: pd.DataFrame, second: pd.DataFrame, subset: str) -> pd.DataFrame:
    """Return the images of a subset that both models have predictions for, sorted by path.

    Args:
        first: predictions table of the first model (`prediction_table.COLUMNS`).
        second: predictions table of the second model.
        subset: ``validation``, ``aspect_swapped`` or ``test``.

    Returns:
        Columns path, label, cause and group of ``first``, and of each model ``probability``, ``predicted`` and
        ``indeterminate``, with the suffix `FIRST` or `SECOND`. Images whose labels differ are left out.
    """
    answers = ["path", "label", "probability", "predicted", "indeterminate"]
    one = first.loc[first["subset"] == subset, [*answers, "cause", "group"]]
    other = second.loc[second["subset"] == subset, answers]
    joined = one.merge(other, on=["path", "label"], suffixes=(FIRST, SECOND), validate="one_to_one")
    return joined.sort_values("path", ignore_index=True)


def covers(aligned: pd.DataFrame, predictions: pd.DataFrame, subset: str) -> bool:
    """Return whether the aligned images include all images of the subset."""
    return len(aligned) == int((predictions["subset"] == subset).sum())


def differences(aligned: pd.DataFrame, bootstrap: BootstrapParams) -> dict[str, Estimate]:
    """Return the first model's AUC, accuracy, sensitivity and specificity less the second's, with 95% intervals.

    Both are computed on the same resamples of patients; see `intervals.estimate`. Undefined figures (a class is
    missing) are left out. Where the two models give the same value on every possible resample, the difference is zero
    with the interval 0 to 0: for the AUC if they rank all pairs of the two classes alike, for a proportion if they
    decide alike on all images that it counts.
    """
    if aligned.empty:
        return {}
    one, other = (_statistics(aligned, end) for end in (FIRST, SECOND))
    estimates = estimate({name: _less(one[name], other[name]) for name in one}, aligned["group"].to_numpy(), bootstrap)
    identical = _identical(aligned)
    return {name: Estimate(0.0, 0.0, 0.0) if identical[name] else figure for name, figure in estimates.items()}


def _identical(aligned: pd.DataFrame) -> dict[str, bool]:
    """Return for each figure whether both models have the same value on every resample."""
    same = (aligned[f"predicted{FIRST}"] == aligned[f"predicted{SECOND}"]).to_numpy(bool)
    positive = (aligned["label"] == POSITIVE).to_numpy(bool)
    first, second = (_placements(aligned[f"probability{end}"].to_numpy(), positive) for end in (FIRST, SECOND))
    return {
        "roc_auc": bool(np.array_equal(first, second)),
        "accuracy": bool(same.all()),
        "sensitivity": bool(same[positive].all()),
        "specificity": bool(same[~positive].all()),
    }


def _placements(scores: Array, positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each image how many images of the other class score lower, and how many score no higher, (2, N).

    These counts determine the order of all pairs of the two classes, and so the AUC of any resample: a bipartite graph
    with nested neighbourhoods is determined by its degrees.
    """
    ordered = {side: np.sort(scores[positive == side]) for side in (True, False)}
    return np.array(
        [
            np.where(
                positive, np.searchsorted(ordered[False], scores, side), np.searchsorted(ordered[True], scores, side)
            )
            for side in ("left", "right")
        ]
    )


def _statistics(aligned: pd.DataFrame, end: str) -> dict[str, Statistic]:
    targets = aligned["label"].map(target).to_numpy(int)
    called = (aligned[f"predicted{end}"] == POSITIVE).to_numpy(bool)
    probabilities = aligned[f"probability{end}"].to_numpy(np.float64)
    return {"roc_auc": roc_auc(targets, probabilities), **decision_shares(targets, called)}


def _less(one: Statistic, other: Statistic) -> Callable[[Array], Array]:
    return lambda weights: one(weights) - other(weights)
