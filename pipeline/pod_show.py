"""What Kubeflow's page shows of a model: figures, ROC curve and confusion matrix on the test set, its MLflow run."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline import pod
from pneumonia.labels import CLASS_NAMES, POSITIVE

if TYPE_CHECKING:
    from kfp import dsl

METRICS = "reports/metrics.json"
POINTS = 200
"""Of the ROC curve; Kubeflow keeps them in a database."""


def show(work: pod.Work, model: str, inputs: str, figures: "dsl.Metrics", curves: "dsl.ClassificationMetrics") -> str:
    """Fill Kubeflow's artifacts with what *evaluate* has found for a model, and return a page in Markdown.

    Args:
        work: what the run is about.
        model: its name in params.yaml.
        inputs: what *evaluate* and the model's *train* have made.
        figures: receives every figure as ``<subset>/<figure>``.
        curves: receives the ROC curve and the confusion matrix of the test set.
    """
    predictions = f"reports/predictions/{model}.csv"
    with pod.failure_kept(work, f"show-{model}"), pod.workspace(work) as folder:
        pod.fetch(folder, pod.decoded(inputs), [METRICS, predictions, f"artifacts/models/{model}"])
        metrics: dict[str, dict[str, float]] = json.loads((folder / METRICS).read_text(encoding="utf-8"))[model]
        answers = pd.read_csv(folder / predictions).query("subset == 'test'")
        link = pod.mlflow_link(work, folder, model)
    for subset, values in metrics.items():
        for name, value in values.items():
            figures.log_metric(f"{subset}/{name}", value)
    curves.log_roc_curve(*roc(answers))
    curves.log_confusion_matrix(list(CLASS_NAMES), confusion(answers))
    return f"# {model}\n\n{link}\n"


def roc(answers: pd.DataFrame) -> tuple[list[float], list[float], list[float]]:
    """Return false and true positive rates and thresholds, at most `POINTS` of each.

    Args:
        answers: columns ``label`` and ``probability``, a row per image.
    """
    from sklearn.metrics import roc_curve

    rates = np.array(roc_curve(answers["label"] == POSITIVE, answers["probability"]))
    rates[2] = np.minimum(rates[2], 1)  # the first threshold is infinite, which JSON does not know
    kept = np.unique(np.linspace(0, rates.shape[1] - 1, POINTS).round().astype(int))
    false_positive, true_positive, thresholds = rates[:, kept].tolist()
    return false_positive, true_positive, thresholds


def confusion(answers: pd.DataFrame) -> list[list[int]]:
    """Return the images of each actual class (rows) that were called each class (columns).

    Args:
        answers: columns ``label`` and ``predicted``, a row per image.
    """
    table: Any = pd.crosstab(answers["label"], answers["predicted"])
    counts: list[list[int]] = table.reindex(index=CLASS_NAMES, columns=CLASS_NAMES, fill_value=0).to_numpy().tolist()
    return counts
