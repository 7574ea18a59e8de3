"""Fit a bundle's reference statistics to development images, with the network in ONNX Runtime that will be served."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.bundle import familiarity
from pneumonia.bundle.reference import Reference
from pneumonia.evaluation import intervals
from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.inference.evidence import SMALLEST_SCALE
from pneumonia.inference.network import BATCH_SIZE, Network

EXPLAINED = 64
"""Validation images per class whose evidence maps are used, the first ones in the order given."""
STRONGEST = 0.01
"""Share of the pixels of PNEUMONIA images that get the strongest colour."""
BINS = 20
"""Bins of equal width to start from; neighbours are merged until each has enough images."""
SMALLEST_BIN = 30
"""Images per bin, at least."""

Probabilities = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """Validation images as the calibration uses them: each unchanged and aspect-swapped.

    Attributes:
        probabilities: calibrated, 0 to 1, shape (N,).
        targets: 0 or 1, shape (N,).
        groups: patient of each image, shape (N,).
    """

    probabilities: Probabilities
    targets: NDArray[np.integer]
    groups: NDArray[np.integer]


def fit(
    network: Network,
    train: NDArray[np.uint8],
    validation: NDArray[np.uint8],
    targets: NDArray[np.integer],
    scored: Scored,
    *,
    seed: int,
    bootstrap: BootstrapParams,
    batch_size: int = BATCH_SIZE,
) -> Reference:
    """Fit reference statistics.

    Args:
        network: the bundle's network.
        train: training images, shape (T, size, size).
        validation: validation images, shape (V, size, size).
        targets: of the validation images, 0 or 1, shape (V,).
        scored: calibrated answers, for the reliability bins.
        seed: of the familiarity.
        bootstrap: of the intervals of the reliability bins.
        batch_size: images per call of the network.
    """
    normal, pneumonia = (
        network.evidence(validation[targets == target][:EXPLAINED], batch_size=batch_size) for target in (0, 1)
    )
    mean = normal.mean(axis=0)
    edges, shares, counts = reliability(scored, bootstrap)
    return Reference(
        normal_evidence=mean,
        evidence_scale=max(float(np.quantile(pneumonia - mean, 1 - STRONGEST)), SMALLEST_SCALE),
        familiarity=familiarity.fit(lambda pixels: network.features(pixels, batch_size), train, validation, seed),
        bin_edges=edges,
        bin_shares=shares,
        bin_images=counts,
    )


def reliability(scored: Scored, bootstrap: BootstrapParams) -> tuple[Probabilities, Probabilities, NDArray[np.int64]]:
    """Return the observed share of PNEUMONIA per bin of calibrated probability.

    Args:
        scored: calibrated answers with targets and patients.
        bootstrap: of the intervals.

    Returns:
        Edges of the B bins (B + 1,); share of PNEUMONIA and the ends of its 95% interval (B, 3), NaN where undefined;
        images per bin (B,), at least `SMALLEST_BIN` unless there is only one bin.
    """
    edges = _merged(np.linspace(0, 1, BINS + 1), scored.probabilities)
    number = np.searchsorted(edges[1:-1], scored.probabilities, side="right")
    inside = {str(bin_): number == bin_ for bin_ in range(len(edges) - 1)}
    shares = {name: intervals.Share(scored.targets == 1, among) for name, among in inside.items()}
    estimates = intervals.estimate(shares, scored.groups, bootstrap).values()
    table = np.array([(each.value, each.low, each.high) for each in estimates], float)  # None becomes NaN
    return edges, table, np.bincount(number, minlength=len(edges) - 1)


def _merged(edges: Probabilities, probabilities: Probabilities) -> Probabilities:
    """Drop inner edges, from below, until each bin has enough images; the last bin takes the remainder."""
    kept = [edges[0]]
    for edge in edges[1:-1]:
        inside = np.count_nonzero((kept[-1] <= probabilities) & (probabilities < edge))
        left = np.count_nonzero(probabilities >= edge)
        if min(inside, left) >= SMALLEST_BIN:
            kept.append(edge)
    return np.array([*kept, edges[-1]])
