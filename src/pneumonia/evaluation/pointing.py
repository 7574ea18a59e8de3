"""The pointing game: does the maximum of a heat map lie in the lesion?

Zhang et al. 2016, "Top-down neural attention by excitation backprop" (arXiv:1608.00507): a map hits when its maximum
lies on the object or within 15 pixels of it. Their images are about 500 pixels wide; here the tolerance is a share of
the side.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pneumonia.core.estimate import DECIMALS
from pneumonia.evaluation.explanation_report import ChanceHitRates, HitRate
from pneumonia.evaluation.intervals import Share, estimate
from pneumonia.evaluation.settings import BootstrapParams

Masks = NDArray[np.bool_]

TOLERANCE = 15 / 500
"""Accepted distance from the lesion, as a share of the image's side."""


def hits(maps: NDArray[np.floating], lesions: Masks, tolerance: float = TOLERANCE) -> NDArray[np.bool_]:
    """Return whether the maximum of each map lies in the lesion or within ``tolerance`` of it, bool, shape (N,).

    Args:
        maps: heat maps, shape (N, size, size); of several equal maxima, the mean position counts.
        lesions: lesion masks, shape (N, size, size), each with at least one pixel.
        tolerance: accepted distance, as a share of ``size``.
    """
    near = _near(lesions, tolerance)
    places = (np.argwhere(each == each.max()).mean(axis=0).round().astype(int) for each in maps)
    return np.array([mask[row, column] for mask, (row, column) in zip(near, places, strict=True)])


def chance(lesions: Masks, lungs: Masks, tolerance: float = TOLERANCE) -> ChanceHitRates:
    """Return the hit rates of pointing without a model.

    Args:
        lesions: lesion masks, as for `hits`.
        lungs: lung masks, shape (N, size, size).
        tolerance: as for `hits`.
    """
    near = _near(lesions, tolerance)
    in_lungs = np.mean([mask[lung].mean() for mask, lung in zip(near, lungs, strict=True)])
    return ChanceHitRates(
        image=round(float(near.mean()), DECIMALS),
        lungs=round(float(in_lungs), DECIMALS),
        best_fixed_place=round(float(near.mean(axis=0).max()), DECIMALS),
    )


def summarise(
    hit: NDArray[np.bool_], groups: NDArray[np.integer], causes: NDArray[Any], bootstrap: BootstrapParams
) -> dict[str, HitRate]:
    """Return the hit rate of ``all`` images and of each cause, with intervals over patients.

    Args:
        hit: from `hits`, shape (N,).
        groups: patient of each image, shape (N,).
        causes: of each image, such as ``bacteria``, shape (N,).
        bootstrap: number of resamples, and their seed.
    """
    parts = {"all": np.ones(len(hit), bool)} | {str(cause): causes == cause for cause in np.unique(causes)}
    shares = estimate({name: Share(hit, part) for name, part in parts.items()}, groups, bootstrap)
    return {
        name: HitRate(images=int(part.sum()), patients=len(np.unique(groups[part])), share=shares[name].rounded())
        for name, part in parts.items()
    }


def _near(lesions: Masks, tolerance: float) -> Masks:
    reach = tolerance * lesions.shape[-1]
    return np.stack([ndimage.distance_transform_edt(~lesion) <= reach for lesion in lesions])
