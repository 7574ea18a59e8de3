"""The pointing game: does the strongest place of a heat map lie in the lesion?

Zhang et al. 2016, "Top-down neural attention by excitation backprop" (arXiv:1608.00507): a map hits when its maximum
lies on the object, give or take 15 pixels. Their images are some 500 pixels wide, so here it is a share of the side.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pneumonia.config import BootstrapParams
from pneumonia.evaluation.intervals import DECIMALS, Share, estimate

Masks = NDArray[np.bool_]

TOLERANCE = 15 / 500
"""How far from the lesion a hit may be, as a share of the image's side."""


def hits(maps: NDArray[np.floating], lesions: Masks, tolerance: float = TOLERANCE) -> NDArray[np.bool_]:
    """Return (N,) whether the maximum of each map lies in the lesion or within ``tolerance`` of it.

    Args:
        maps: (N, size, size); where several places are equally strong, their middle counts.
        lesions: (N, size, size), each with at least one pixel.
        tolerance: as a share of ``size``.
    """
    near = _near(lesions, tolerance)
    places = (np.argwhere(each == each.max()).mean(axis=0).round().astype(int) for each in maps)
    return np.array([mask[row, column] for mask, (row, column) in zip(near, places, strict=True)])


def chance(lesions: Masks, lungs: Masks, tolerance: float = TOLERANCE) -> dict[str, float]:
    """Return the share of hits of pointing without looking.

    Args:
        lesions: (N, size, size), as for `hits`.
        lungs: where the lungs are, (N, size, size).
        tolerance: as for `hits`.

    Returns:
        ``image``: a random place of the image; ``lungs``: a random place in the lungs; ``best_fixed_place``: the same
        place in every image, the best there is, found in hindsight.
    """
    near = _near(lesions, tolerance)
    return {
        "image": round(float(near.mean()), DECIMALS),
        "lungs": round(float(np.mean([mask[lung].mean() for mask, lung in zip(near, lungs, strict=True)])), DECIMALS),
        "best_fixed_place": round(float(near.mean(axis=0).max()), DECIMALS),
    }


def summarise(
    hit: NDArray[np.bool_], groups: NDArray[np.integer], causes: NDArray[Any], bootstrap: BootstrapParams
) -> dict[str, dict[str, Any]]:
    """Return the share of hits of all images and of each cause.

    Args:
        hit: (N,), from `hits`.
        groups: (N,) the patient of each image.
        causes: (N,), such as ``bacteria``.
        bootstrap: of the interval.

    Returns:
        Per ``all`` and cause: ``images``, ``patients``, and the share of hits as ``value`` with the ends of its 95%
        interval over patients, ``low`` and ``high``.
    """
    parts = {"all": np.ones(len(hit), bool)} | {str(cause): causes == cause for cause in np.unique(causes)}
    shares = estimate({name: Share(hit, part) for name, part in parts.items()}, groups, bootstrap)
    return {
        name: {"images": int(part.sum()), "patients": len(np.unique(groups[part]))} | shares[name].to_json()
        for name, part in parts.items()
    }


def _near(lesions: Masks, tolerance: float) -> Masks:
    reach = tolerance * lesions.shape[-1]
    return np.stack([ndimage.distance_transform_edt(~lesion) <= reach for lesion in lesions])
