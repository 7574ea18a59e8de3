"""Out-of-distribution detection: how familiar an image is, compared with the development images.

Two scores, both of the same features of an image: a thumbnail (16 x 16 grey levels, standardised) and the principal
components of the network's pooled features.

- *distance score*: the negative Mahalanobis distance from the training images, with a covariance shrunk after Ledoit
  and Wolf ("A well-conditioned estimator for large-dimensional covariance matrices", 2004). It uses no other images.
- *in-distribution score*: the log-odds of a logistic regression that separates training images from altered ones
  (`bundle.alterations`), after outlier exposure (Hendrycks et al., ICLR 2019).

Each score becomes the share of validation images with a lower score, and the smaller share decides. The thumbnail
contributes most: features of a network that was trained to detect pneumonia hold little else. docs/refusals.md has the
measurements, with and without each part.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.bundle.alterations import alter

Pixels = NDArray[np.uint8]
Array = NDArray[np.float32]
Embed = Callable[[Pixels], NDArray[np.float32]]
"""From images (N, size, size) to the pooled features of a network (N, channels)."""

THUMBNAIL_SIZE = 16
"""Pixels a side."""
CONTRAST_OFFSET = 4.0
"""Grey levels added to the standard deviation of a thumbnail, so that the noise of a nearly flat image stays small."""
MAXIMUM_COMPONENTS = 32
"""Principal components of the pooled features, at most."""
MINIMUM_DEVIATION = 1e-4
"""Components with less than this share of the first one's standard deviation are rounding errors."""
MAXIMUM_FITTED = 2000
"""Training images that are used unaltered, and as many that are used altered, at most."""
MAXIMUM_SQUARE = 25.0
"""Largest square of a whitened feature, five standard deviations; beyond, it is clipped."""
INVERSE_REGULARIZATION = 0.01
MINIMUM = 0.01
"""Share of validation images; an image that is less familiar than all but this share gets no answer."""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Distribution of a bundle's development images, F = 16 * 16 + C features with C principal components.

    Attributes:
        pooled_mean: mean of the pooled features, shape (channels,).
        axes: principal axes of the pooled features, scaled so that components have unit variance; (channels, C).
        mean: mean of the features, shape (F,).
        whitening: maps centred features to uncorrelated ones of unit variance, shape (F, F).
        weights: coefficients of the logistic regression, for whitened features and their squares, shape (2 F,).
        bias: intercept of the logistic regression.
        distance_scores: of the V validation images, ascending, shape (V,).
        in_distribution_scores: of the validation images, ascending, shape (V,).
        smaller_shares: smaller of the two shares of each validation image, ascending, shape (V,).
        minimum: share below which an image is refused; see `MINIMUM`.
    """

    pooled_mean: Array
    axes: Array
    mean: Array
    whitening: Array
    weights: Array
    bias: float
    distance_scores: Array
    in_distribution_scores: Array
    smaller_shares: Array
    minimum: float = MINIMUM

    def components(self, pooled: Array) -> Array:
        """Return the principal components (N, C) of pooled features (N, channels)."""
        return _project(pooled, self.pooled_mean, self.axes)

    def shares(self, images: Pixels, pooled: Array) -> tuple[Array, Array, Array]:
        """Return the share of validation images, 0 to 1, that are less familiar than each image.

        Args:
            images: shape (N, size, size).
            pooled: their pooled features, shape (N, channels).

        Returns:
            Three arrays (N,): by both scores together, by the distance score, by the in-distribution score.
        """
        distance, in_distribution = self.scores(images, pooled)
        by_distance = _share_below(self.distance_scores, distance)
        by_in_distribution = _share_below(self.in_distribution_scores, in_distribution)
        smaller = np.minimum(by_distance, by_in_distribution)
        return _share_below(self.smaller_shares, smaller), by_distance, by_in_distribution

    def scores(self, images: Pixels, pooled: Array) -> tuple[Array, Array]:
        """Return distance scores (N,) and in-distribution scores (N,); arguments as for `shares`."""
        whitened = _whiten(_features(images, self.components(pooled)), self.mean, self.whitening)
        return -np.mean(whitened**2, axis=1), _with_squares(whitened) @ self.weights + np.float32(self.bias)


def fit(embed: Embed, train: Pixels, validation: Pixels, seed: int) -> Familiarity:
    """Fit the scores to training images, and their distribution to validation images.

    Args:
        embed: returns the network's pooled features of images.
        train: training images, shape (N, size, size).
        validation: validation images, shape (V, size, size).
        seed: of the choice of training images and of their alterations.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train))
    unaltered = train[np.sort(order[:MAXIMUM_FITTED])]
    altered = alter(train[np.sort(order[-MAXIMUM_FITTED:])], rng)
    pooled, pooled_altered = embed(unaltered), embed(altered)
    pooled_mean, axes = _principal_axes(pooled)
    features = _features(unaltered, _project(pooled, pooled_mean, axes))
    features_altered = _features(altered, _project(pooled_altered, pooled_mean, axes))
    mean, whitening = _whitening(features)
    weights, bias = _regress(_whiten(features, mean, whitening), _whiten(features_altered, mean, whitening))
    empty = np.zeros(1, np.float32)
    fitted = Familiarity(pooled_mean, axes, mean, whitening, weights, bias, empty, empty, empty)
    distance, in_distribution = fitted.scores(validation, embed(validation))
    fitted = replace(fitted, distance_scores=np.sort(distance), in_distribution_scores=np.sort(in_distribution))
    smaller = np.minimum(
        _share_below(fitted.distance_scores, distance), _share_below(fitted.in_distribution_scores, in_distribution)
    )
    return replace(fitted, smaller_shares=np.sort(smaller))


def _principal_axes(pooled: Array) -> tuple[Array, Array]:
    """Return the mean of features (N, channels) and axes (channels, C) whose components have unit variance."""
    mean = pooled.mean(axis=0)
    _, singular_values, axes = np.linalg.svd(pooled - mean, full_matrices=False)
    kept = np.flatnonzero(singular_values > singular_values[0] * MINIMUM_DEVIATION)[:MAXIMUM_COMPONENTS]
    return mean, np.asarray(axes[kept].T / (singular_values[kept] / np.sqrt(len(pooled))), np.float32)


def _whitening(features: Array) -> tuple[Array, Array]:
    """Return the mean (F,) and the whitening matrix (F, F) of features (N, F)."""
    from sklearn.covariance import ledoit_wolf

    variances, directions = np.linalg.eigh(ledoit_wolf(features.astype(np.float64))[0])
    return features.mean(axis=0), np.asarray(directions / np.sqrt(variances), np.float32)


def _regress(unaltered: Array, altered: Array) -> tuple[Array, float]:
    """Return weights (2 F,) and bias of a logistic regression on whitened features."""
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=INVERSE_REGULARIZATION, class_weight="balanced", max_iter=5000)
    features = np.concatenate([_with_squares(unaltered), _with_squares(altered)])
    regression.fit(features, np.repeat([1, 0], [len(unaltered), len(altered)]))
    return regression.coef_[0].astype(np.float32), float(regression.intercept_[0])


def _project(pooled: Array, mean: Array, axes: Array) -> Array:
    return np.asarray((pooled - mean) @ axes, np.float32)


def _features(images: Pixels, components: Array) -> Array:
    """Return features (N, F): standardised grey levels of the thumbnail, and the components."""
    size = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    thumbnails = [np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BOX)).ravel() for each in images]
    levels = np.array(thumbnails, np.float32)
    levels -= levels.mean(axis=1, keepdims=True)
    levels /= levels.std(axis=1, keepdims=True) + CONTRAST_OFFSET
    return np.concatenate([levels, components], axis=1)


def _whiten(features: Array, mean: Array, whitening: Array) -> Array:
    return np.asarray((features - mean) @ whitening)


def _with_squares(whitened: Array) -> Array:
    return np.concatenate([whitened, np.minimum(whitened**2, MAXIMUM_SQUARE)], axis=1)


def _share_below(ascending: Array, values: Array) -> Array:
    """Return the share of ascending numbers (V,) that is below each value (N,)."""
    return np.searchsorted(ascending, values).astype(np.float32) / np.float32(len(ascending))
