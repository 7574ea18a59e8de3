"""What the answers of a bundle are compared with, fitted to development images when a training ends."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pneumonia import config
from pneumonia.evaluation import intervals
from pneumonia.images import store as images
from pneumonia.inference import familiarity
from pneumonia.inference.explain import SMALLEST_SCALE, Explainer
from pneumonia.inference.reference import Reference
from pneumonia.labels import CLASS_NAMES

EXPLAINED = 64
"""So many validation images of a class, the first by path, say what a place is like without pneumonia and with it."""
STRONGEST = 0.01
"""Share of the places in images of PNEUMONIA that get the strongest colour."""
BINS = 20
"""Of equal width at first; neighbours are joined until each has enough images."""
SMALLEST_BIN = 30
"""Images."""

Probabilities = NDArray[np.float64]


def fit(
    model: Any,
    data: images.ImageStore,
    probabilities: Probabilities,
    targets: NDArray[np.integer],
    groups: NDArray[np.integer],
    params: config.Params,
) -> Reference:
    """Fit a reference.

    Args:
        model: the Keras model.
        data: where the development images are.
        probabilities: (N,) calibrated, of the scored validation images.
        targets: (N,) of 0 and 1, of them.
        groups: (N,) patients, of them.
        params: batch size, bootstrap and seed.
    """
    batch_size = params.evaluate.batch_size
    explainer = Explainer(model)
    normal, ill = (explainer.evidence(_first(data, label), batch_size=batch_size) for label in CLASS_NAMES)
    mean = normal.mean(axis=0)
    pool = keras.Model(model.input, model.get_layer("pool").output)
    edges, shares, counts = reliability(probabilities, targets, groups, params.evaluate.bootstrap)
    return Reference(
        normal_evidence=mean,
        evidence_scale=max(float(np.quantile(ill - mean, 1 - STRONGEST)), SMALLEST_SCALE),
        familiarity=familiarity.fit(
            lambda pixels: pool.predict(pixels[..., None], batch_size=batch_size, verbose=0),
            data.images[data.rows("train")],
            data.images[data.rows("validation")],
            params.train.seed,
        ),
        bin_edges=edges,
        bin_shares=shares,
        bin_images=counts,
    )


def reliability(
    probabilities: Probabilities,
    targets: NDArray[np.integer],
    groups: NDArray[np.integer],
    bootstrap: config.BootstrapParams,
) -> tuple[Probabilities, Probabilities, NDArray[np.int64]]:
    """Return how many of the images with a like probability are PNEUMONIA.

    Args:
        probabilities: (N,) calibrated.
        targets: (N,) of 0 and 1.
        groups: (N,) patients.
        bootstrap: for the intervals.

    Returns:
        Edges (B + 1,) of the bins; the share in each with the ends of its 95% interval (B, 3), NaN where they cannot
        be told; and images in each (B,), no fewer than `SMALLEST_BIN` unless there is but one bin.
    """
    edges = _joined(np.linspace(0, 1, BINS + 1), probabilities)
    number = np.searchsorted(edges[1:-1], probabilities, side="right")
    among = {str(bin_): number == bin_ for bin_ in range(len(edges) - 1)}
    shares = {name: intervals.Share(targets == 1, inside) for name, inside in among.items()}
    estimates = intervals.estimate(shares, groups, bootstrap).values()
    table = np.array([(each.value, each.low, each.high) for each in estimates], float)  # None becomes NaN
    return edges, table, np.bincount(number, minlength=len(edges) - 1)


def _joined(edges: Probabilities, probabilities: Probabilities) -> Probabilities:
    """Leave out inner edges, from below, until each bin has enough images; the last takes what is left."""
    kept = [edges[0]]
    for edge in edges[1:-1]:
        inside = np.count_nonzero((kept[-1] <= probabilities) & (probabilities < edge))
        left = np.count_nonzero(probabilities >= edge)
        if min(inside, left) >= SMALLEST_BIN:
            kept.append(edge)
    return np.array([*kept, edges[-1]])


def _first(data: images.ImageStore, label: str) -> NDArray[np.uint8]:
    rows = data.rows("validation")
    return data.images[rows[(data.index["label"].iloc[rows] == label).to_numpy()][:EXPLAINED]]
