"""Show a model on Kubeflow's page: its metrics, and ROC curve and confusion matrix on the test set."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.kubeflow import pod
from pneumonia.core import paths
from pneumonia.core.labels import CLASS_NAMES, POSITIVE

if TYPE_CHECKING:
    from kfp import dsl

ROC_POINTS = 200
"""Kubeflow keeps the points of a curve in its database."""


def show(
    context: pod.RunContext, model: str, inputs: str, metrics: "dsl.Metrics", curves: "dsl.ClassificationMetrics"
) -> None:
    """Fill Kubeflow's artifacts with the evaluation of a model.

    Args:
        context: of the run.
        model: its name in params.yaml.
        inputs: outputs of the model's stage *evaluate*.
        metrics: receives each metric as ``<subset>/<metric>``.
        curves: receives the ROC curve and the confusion matrix of the test set.
    """
    metrics_file, predictions_file = paths.METRICS / f"{model}.json", paths.PREDICTIONS / f"{model}.csv"
    with pod.failure_recorded(context, f"show-{model}"), pod.workspace(context) as folder:
        pod.fetch(folder, pod.decoded(inputs), [str(metrics_file), str(predictions_file)])
        values: dict[str, dict[str, float]] = json.loads((folder / metrics_file).read_text(encoding="utf-8"))
        predictions = pd.read_csv(folder / predictions_file).query("subset == 'test'")
    for subset, by_metric in values.items():
        for name, value in by_metric.items():
            metrics.log_metric(f"{subset}/{name}", value)
    curves.log_roc_curve(*roc(predictions))
    curves.log_confusion_matrix(list(CLASS_NAMES), confusion(predictions))


def roc(predictions: pd.DataFrame) -> tuple[list[float], list[float], list[float]]:
    """Return false positive rates, true positive rates and thresholds, at most `ROC_POINTS` of each.

    Args:
        predictions: one row per image, with the columns ``label`` and ``probability`` (0 to 1).
    """
    from sklearn.metrics import roc_curve

    rates = np.array(roc_curve(predictions["label"] == POSITIVE, predictions["probability"]))
    rates[2] = np.minimum(rates[2], 1)  # the first threshold is infinite, which JSON cannot express
    kept = np.unique(np.linspace(0, rates.shape[1] - 1, ROC_POINTS).round().astype(int))
    false_positive, true_positive, thresholds = rates[:, kept].tolist()
    return false_positive, true_positive, thresholds


def confusion(predictions: pd.DataFrame) -> list[list[int]]:
    """Return the number of images by actual class (rows) and predicted class (columns).

    Args:
        predictions: one row per image, with the columns ``label`` and ``predicted``.
    """
    table: Any = pd.crosstab(predictions["label"], predictions["predicted"])
    counts: list[list[int]] = table.reindex(index=CLASS_NAMES, columns=CLASS_NAMES, fill_value=0).to_numpy().tolist()
    return counts
