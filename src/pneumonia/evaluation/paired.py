"""Two models on the same images, from the predictions that *evaluate* leaves in reports/predictions/."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.config import BootstrapParams
from pneumonia.evaluation.intervals import Array, Estimate, Statistic, decision_shares, estimate, roc_auc
from pneumonia.labels import POSITIVE, target

FIRST, SECOND = "_first", "_second"
"""Ends of the columns that tell the two apart."""


def align(first: pd.DataFrame, second: pd.DataFrame, subset: str) -> pd.DataFrame:
    """Return the images of a subset that both models have answered for, sorted by path.

    Args:
        first: predictions of a model: columns path, subset, label, cause, group, probability, predicted, and more.
        second: those of the other model.
        subset: ``validation``, ``swapped`` or ``test``.

    Returns:
        Columns path, label, cause and group as ``first`` has them, and of either model ``probability``, ``predicted``
        and ``indeterminate``, with `FIRST` or `SECOND` at the end. Images with another label are left out.
    """
    answers = ["path", "label", "probability", "predicted", "indeterminate"]
    one = first.loc[first["subset"] == subset, [*answers, "cause", "group"]]
    other = second.loc[second["subset"] == subset, answers]
    joined = one.merge(other, on=["path", "label"], suffixes=(FIRST, SECOND), validate="one_to_one")
    return joined.sort_values("path", ignore_index=True)


def covers(aligned: pd.DataFrame, predictions: pd.DataFrame, subset: str) -> bool:
    """Return whether all images of the subset are among the aligned ones."""
    return len(aligned) == int((predictions["subset"] == subset).sum())


def differences(aligned: pd.DataFrame, bootstrap: BootstrapParams) -> dict[str, Estimate]:
    """Compute the first model's AUC, accuracy, sensitivity and specificity less the second's, with 95% intervals.

    Both are judged on the same resamples of patients; see `intervals.estimate`. A figure that is undefined, for want
    of a class, is left out. Where two models order the images of one class alike among those of the other, their AUCs
    surely differ by nothing; where they decide alike among the images that a share counts, so do their shares.
    """
    if aligned.empty:
        return {}
    one, other = (_statistics(aligned, end) for end in (FIRST, SECOND))
    found = estimate({name: _less(one[name], other[name]) for name in one}, aligned["group"].to_numpy(), bootstrap)
    alike = _alike(aligned)
    return {name: Estimate(0.0, 0.0, 0.0) if alike[name] else figure for name, figure in found.items()}


def _alike(aligned: pd.DataFrame) -> dict[str, bool]:
    """Return by figure whether no resample could tell the two models apart; there the bootstrap has no interval."""
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
    """Return for each image how many of the other class score lower, and how many no higher (2, N).

    They say which pairs of the classes are in order, and so the AUC of any resample: a bipartite graph whose
    neighbourhoods are nested is the only one with its degrees.
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
