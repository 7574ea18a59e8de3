"""Statistics of scores that account for a covariate: AUC among matched pairs, and rank correlation within a class."""

import numpy as np
from numpy.typing import NDArray

from pneumonia.evaluation.intervals import Array, Statistic


def matched_auc(targets: NDArray[np.integer], scores: Array, matched: NDArray[np.bool_]) -> Statistic:
    """Return the AUC among matched pairs: the share of matched (positive, negative) pairs in the correct order.

    Ties count half. With all pairs matched this is the area under the ROC curve. Both images of a pair have the weight
    of their patient, so resampling patients resamples both sides. Comparing within a covariate follows Janes and Pepe,
    Adjusting for covariate effects on classification accuracy, Biometrika 96, 2009.

    Args:
        targets: classes, 0 or 1, shape (N,); P of them are 1.
        scores: of the model, shape (N,).
        matched: whether a positive and a negative form a pair, bool, shape (P, N - P).
    """
    positive = targets == 1
    above = scores[positive][:, None] - scores[~positive]
    ordered = matched * (np.sign(above) + 1) / 2

    def area(weights: Array) -> Array:
        positives, negatives = weights[:, positive], weights[:, ~positive]
        pairs = ((positives @ matched) * negatives).sum(axis=1)
        return np.asarray(((positives @ ordered) * negatives).sum(axis=1) / pairs)

    return area


def rank_correlation(first: Array, second: Array, among: NDArray[np.bool_]) -> Statistic:
    """Return Spearman's rank correlation of two quantities (N,) among the images of a mask (N,).

    Ranks are computed in each resample; ties share their mean rank.
    """

    def correlation(weights: Array) -> Array:
        within = weights[:, among]
        total = within.sum(axis=1, keepdims=True)
        centred = [
            ranks - (within * ranks).sum(axis=1, keepdims=True) / total
            for ranks in (_ranks(first[among], within), _ranks(second[among], within))
        ]
        covariance, *variances = (
            (within * one * other).sum(axis=1) for one, other in (centred, [centred[0]] * 2, [centred[1]] * 2)
        )
        scale = np.sqrt(variances[0] * variances[1])
        return np.where(scale > 1e-9, covariance / scale, np.nan)  # undefined where one is constant

    return correlation


def _ranks(values: Array, weights: Array) -> Array:
    """Return the mean ranks (B, N) of values (N,) that are repeated as often as weights (B, N)."""
    order = np.argsort(values, kind="stable")
    _, first, place = np.unique(values[order], return_index=True, return_inverse=True)
    counts = np.add.reduceat(weights[:, order], first, axis=1)
    middle = np.cumsum(counts, axis=1) - counts / 2
    ranks = np.empty_like(weights)
    ranks[:, order] = middle[:, place]
    return ranks
