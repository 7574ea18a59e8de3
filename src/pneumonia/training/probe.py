"""The baseline model: logistic regression on the features of a frozen backbone, as one Keras model."""

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pneumonia.training import architectures
from pneumonia.training.settings import ProbeParams


def fit_probe(
    params: ProbeParams, images: NDArray[np.uint8], targets: NDArray[np.float32], seed: int
) -> tuple[keras.Model, NDArray[np.float64]]:
    """Fit the baseline model.

    Args:
        params: backbone and regularization.
        images: training images, shape (N, size, size).
        targets: 0 or 1, shape (N,).
        seed: of random weights.

    Returns:
        The model, whose output is a logit, and its probabilities (N,) of the training images.
    """
    keras.utils.set_random_seed(seed)
    extractor = architectures.feature_extractor(params, images.shape[1])
    features = extractor.predict(images[..., None], batch_size=params.batch_size, verbose=2).astype(np.float64)
    weights, bias = linear_head(features, targets, params.inverse_regularization)
    model = architectures.with_linear_head(extractor, weights, bias)
    return model, expit(features @ weights + bias)


def linear_head(
    features: NDArray[np.float64], targets: NDArray[np.float32], inverse_regularization: float
) -> tuple[NDArray[np.float64], float]:
    """Fit a logistic regression with balanced class weights.

    The features are not standardised: standardised ones score a little lower on validation images, and much lower on
    augmented validation images.

    Args:
        features: shape (N, channels).
        targets: 0 or 1, shape (N,).
        inverse_regularization: C of `sklearn.linear_model.LogisticRegression`.

    Returns:
        Weights (channels,) and bias.
    """
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=inverse_regularization, class_weight="balanced", max_iter=5000)
    regression.fit(features, targets)
    return regression.coef_[0], float(regression.intercept_[0])
