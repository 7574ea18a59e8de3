"""The baseline to beat: logistic regression on the features of a frozen backbone, as one Keras model."""

import keras
import numpy as np
from numpy.typing import NDArray

from pneumonia.config import ProbeParams
from pneumonia.models import architectures


def fit_probe(
    params: ProbeParams, images: NDArray[np.uint8], targets: NDArray[np.float32], seed: int
) -> tuple[keras.Model, NDArray[np.float64]]:
    """Fit on images (N, size, size) uint8 and targets (N,) of 0 or 1.

    Returns the model, which answers logits, and its probabilities (N,) on these very images.

    The features' standardisation is folded into the linear layer: w' = w / s and b' = b - sum(w m / s), with mean m
    and standard deviation s.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    keras.utils.set_random_seed(seed)
    extractor = architectures.feature_extractor(params, images.shape[1])
    features = extractor.predict(images[..., None], batch_size=params.batch_size, verbose=2).astype(np.float64)
    scaler = StandardScaler().fit(features)
    regression = LogisticRegression(C=params.inverse_regularization, class_weight="balanced", max_iter=5000)
    standardised = scaler.transform(features)
    regression.fit(standardised, targets)
    weights = regression.coef_[0] / scaler.scale_
    bias = float(regression.intercept_[0] - weights @ scaler.mean_)
    return architectures.with_linear_head(extractor, weights, bias), regression.predict_proba(standardised)[:, 1]
