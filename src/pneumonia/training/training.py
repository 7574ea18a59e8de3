"""Train one model of any kind: a probe in one step, a network epoch by epoch."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn import metrics as sk

from pneumonia.training import predict, probe
from pneumonia.training.fit import LabelledImages, OnEpoch, fit_network
from pneumonia.training.settings import ModelParams, ProbeParams
from pneumonia.training.workers import ALONE, Workers


def train(
    params: ModelParams,
    train: LabelledImages,
    validation: LabelledImages,
    *,
    seed: int,
    checkpoint: Path,
    on_epoch: OnEpoch,
    workers: Workers = ALONE,
) -> tuple[keras.Model, pd.DataFrame]:
    """Return a trained network and its history.

    Args:
        params: the model's recipe; a `ProbeParams` is fitted in one step, without a checkpoint.
        train: training images.
        validation: validation images.
        seed: of weights, order and augmentation.
        checkpoint: folder for the state between epochs.
        on_epoch: called with (epoch, metrics) after each epoch; epochs count from 1.
        workers: the processes that train together; a probe needs one.

    Returns:
        The network, and a table with one row per epoch: epoch, loss, accuracy, auc, val_loss, val_accuracy, val_auc
        and, except for a probe, learning_rate.

    Raises:
        WeightsError: pretrained weights are not available.
        TrainingError: see `training.fit.fit_network`.
    """
    if not isinstance(params, ProbeParams):
        return fit_network(
            params,
            train,
            validation,
            seed=seed,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
            workers=workers,
        )
    model, probabilities = probe.fit_probe(params, train.images, train.targets, seed)
    validation_probabilities = expit(predict.logits(model, validation.images, params.batch_size))
    metrics = _metrics(train.targets, probabilities) | {
        f"val_{name}": value for name, value in _metrics(validation.targets, validation_probabilities).items()
    }
    on_epoch(1, metrics)
    return model, pd.DataFrame([{"epoch": 1} | metrics])


def _metrics(targets: NDArray[np.float32], probabilities: NDArray[np.float64]) -> dict[str, float]:
    classes = targets.astype(int)
    return {
        "loss": float(sk.log_loss(classes, probabilities, labels=[0, 1])),
        "accuracy": float(sk.accuracy_score(classes, probabilities >= 0.5)),
        "auc": float(sk.roc_auc_score(classes, probabilities)),
    }
