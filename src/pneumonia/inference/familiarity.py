"""Is this an image like those that the network has learnt from?

Two scores, both of what an image looks like from afar (16 x 16 grey levels, brightness and contrast taken out) and of
what the network makes of it (principal components of its pooled features):

- *distance*: the Mahalanobis distance from the training images, with a covariance shrunk after Ledoit and Wolf (A
  well-conditioned estimator for large-dimensional covariance matrices, 2004). It knows nothing of what else there is.
- *soundness*: a logistic regression that tells training images from altered ones (`inference.alterations`), after the
  idea of outlier exposure (Hendrycks et al., ICLR 2019).

Both become the share of validation images that are less familiar, and the smaller of the two decides. The view from
afar does most of the work: the features of a network that was trained to tell pneumonia hold little else.
docs/refusals.md has the figures, with and without them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.inference.alterations import alter

Pixels = NDArray[np.uint8]
Array = NDArray[np.float32]
Embed = Callable[[Pixels], NDArray[np.float32]]
"""From images (N, size, size) to the pooled features of a network (N, channels)."""

AFAR = 16
"""Pixels a side."""
FLATTEST = 4.0
"""Grey levels added to the standard deviation, so that the noise of a nearly flat image is not taken for contrast."""
COMPONENTS = 32
"""Of the pooled features, at most."""
WEAKEST = 1e-4
"""Components with less than this share of the strongest one's deviation are rounding errors."""
FITTED = 2000
"""Training images that are looked at as they are, and again so many that are altered, at most."""
LARGEST_SQUARE = 25.0
"""Of a whitened component: five standard deviations; what lies beyond tells no more."""
INVERSE_REGULARIZATION = 0.01
MINIMUM = 0.01
"""Share of validation images; an image that is less familiar than all but this share of them gets no answer."""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What the development images of a bundle look like. L is 16 * 16 + C, C the number of components.

    Attributes:
        pooled_mean: (channels,) of the pooled features.
        axes: (channels, C) principal axes of the pooled features; components have unit variance.
        centre: (L,) mean look.
        whitening: (L, L) makes looks uncorrelated and of unit variance.
        weights: (2 L,) of the whitened look and of its squares in the logistic regression.
        bias: of it.
        distances: (V,) of the validation images, negative, ascending.
        soundness: (V,) likewise, log-odds of being unaltered.
        smaller: (V,) likewise, the smaller of the two shares.
        minimum: share of validation images; see `MINIMUM`.
    """

    pooled_mean: Array
    axes: Array
    centre: Array
    whitening: Array
    weights: Array
    bias: float
    distances: Array
    soundness: Array
    smaller: Array
    minimum: float = MINIMUM

    def components(self, pooled: Array) -> Array:
        """Return the principal components (N, C) of pooled features (N, channels)."""
        return _project(pooled, self.pooled_mean, self.axes)

    def shares(self, images: Pixels, pooled: Array) -> tuple[Array, Array, Array]:
        """Return the shares of validation images, 0 to 1, that are less familiar than each image.

        Args:
            images: (N, size, size).
            pooled: features of them, (N, channels).

        Returns:
            Three times (N,): all in all, by distance alone, by soundness alone.
        """
        scores = self.scores(images, pooled)
        near, sound = _share_below(self.distances, scores[0]), _share_below(self.soundness, scores[1])
        return _share_below(self.smaller, np.minimum(near, sound)), near, sound

    def scores(self, images: Pixels, pooled: Array) -> tuple[Array, Array]:
        """Return negative distances (N,) and soundness (N,), of arguments as for `shares`."""
        whitened = _whiten(_look(images, self.components(pooled)), self.centre, self.whitening)
        return -np.mean(whitened**2, axis=1), _with_squares(whitened) @ self.weights + np.float32(self.bias)


def fit(embed: Embed, train: Pixels, validation: Pixels, seed: int) -> Familiarity:
    """Fit to images (N, size, size) of the training and of the validation set; the latter set the scale alone."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train))
    unaltered = train[np.sort(order[:FITTED])]
    altered = alter(train[np.sort(order[-FITTED:])], rng)
    pooled, pooled_altered = embed(unaltered), embed(altered)
    pooled_mean, axes = _principal_axes(pooled)
    look = _look(unaltered, _project(pooled, pooled_mean, axes))
    look_altered = _look(altered, _project(pooled_altered, pooled_mean, axes))
    centre, whitening = _whitening(look)
    weights, bias = _regress(_whiten(look, centre, whitening), _whiten(look_altered, centre, whitening))
    unscaled = np.zeros(1, np.float32)
    known = Familiarity(pooled_mean, axes, centre, whitening, weights, bias, unscaled, unscaled, unscaled)
    distances, soundness = known.scores(validation, embed(validation))
    known = replace(known, distances=np.sort(distances), soundness=np.sort(soundness))
    smaller = np.minimum(_share_below(known.distances, distances), _share_below(known.soundness, soundness))
    return replace(known, smaller=np.sort(smaller))


def _principal_axes(pooled: Array) -> tuple[Array, Array]:
    """Return the mean of features (N, channels) and axes (channels, C) whose components have unit variance."""
    mean = pooled.mean(axis=0)
    _, strengths, axes = np.linalg.svd(pooled - mean, full_matrices=False)
    kept = np.flatnonzero(strengths > strengths[0] * WEAKEST)[:COMPONENTS]
    return mean, np.asarray(axes[kept].T / (strengths[kept] / np.sqrt(len(pooled))), np.float32)


def _whitening(look: Array) -> tuple[Array, Array]:
    """Return the mean look (L,), and what whitens looks (L, L)."""
    from sklearn.covariance import ledoit_wolf

    variances, directions = np.linalg.eigh(ledoit_wolf(look.astype(np.float64))[0])
    return look.mean(axis=0), np.asarray(directions / np.sqrt(variances), np.float32)


def _regress(unaltered: Array, altered: Array) -> tuple[Array, float]:
    """Return weights (2 L,) and bias of a logistic regression on whitened looks."""
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=INVERSE_REGULARIZATION, class_weight="balanced", max_iter=5000)
    looks = np.concatenate([_with_squares(unaltered), _with_squares(altered)])
    regression.fit(looks, np.repeat([1, 0], [len(unaltered), len(altered)]))
    return regression.coef_[0].astype(np.float32), float(regression.intercept_[0])


def _project(pooled: Array, mean: Array, axes: Array) -> Array:
    return np.asarray((pooled - mean) @ axes, np.float32)


def _look(images: Pixels, components: Array) -> Array:
    """Return (N, L): 16 x 16 standardised grey levels, and the components."""
    small = [np.asarray(Image.fromarray(each).resize((AFAR, AFAR), Image.Resampling.BOX)).ravel() for each in images]
    levels = np.array(small, np.float32)
    levels -= levels.mean(axis=1, keepdims=True)
    levels /= levels.std(axis=1, keepdims=True) + FLATTEST
    return np.concatenate([levels, components], axis=1)


def _whiten(look: Array, centre: Array, whitening: Array) -> Array:
    return np.asarray((look - centre) @ whitening)


def _with_squares(whitened: Array) -> Array:
    return np.concatenate([whitened, np.minimum(whitened**2, LARGEST_SQUARE)], axis=1)


def _share_below(known: Array, values: Array) -> Array:
    """Return which share of sorted ``known`` (V,) lies below each value (N,)."""
    return np.searchsorted(known, values).astype(np.float32) / np.float32(len(known))
