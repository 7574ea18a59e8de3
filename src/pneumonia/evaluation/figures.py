"""Figures and plot tables of training and evaluation; equal numbers give equal bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn import metrics as sk

from pneumonia.core.labels import CLASS_NAMES, target
from pneumonia.evaluation.evaluation_report import CalibrationEffect, SubsetReport

MAXIMUM_CURVE_POINTS = 200
GREY = "#888888"


@dataclass(frozen=True)
class Scores:
    """Predictions of a model on one subset.

    Attributes:
        targets: classes, 0 or 1, shape (N,).
        probabilities: scores that increase with the probability of PNEUMONIA, shape (N,).
        called: decisions at the operating point, 0 or 1, shape (N,).
    """

    targets: NDArray[np.integer]
    probabilities: NDArray[np.float64]
    called: NDArray[np.integer]

    @classmethod
    def at(cls, targets: NDArray[np.integer], probabilities: NDArray[np.float64], threshold: float) -> "Scores":
        """Call every image PNEUMONIA whose probability is at or above a threshold."""
        return cls(targets, probabilities, (probabilities >= threshold).astype(int))

    @classmethod
    def of(cls, predictions: pd.DataFrame, subset: str) -> "Scores":
        """Read one subset of a predictions table; scores are the logits, which order the images like probabilities."""
        rows = predictions[predictions["subset"] == subset]
        return cls(
            rows["label"].map(target).to_numpy(int),
            rows["logit"].to_numpy(float),
            rows["predicted"].map(target).to_numpy(int),
        )


def roc_table(scores: Scores) -> pd.DataFrame:
    """Return the ROC curve: columns false_positive_rate and true_positive_rate, thinned to about 200 points."""
    fpr, tpr, _ = sk.roc_curve(scores.targets, scores.probabilities)
    return _thinned(pd.DataFrame({"false_positive_rate": fpr, "true_positive_rate": tpr}))


def pr_table(scores: Scores) -> pd.DataFrame:
    """Return the precision-recall curve: columns recall and precision, thinned to about 200 points."""
    precision, recall, _ = sk.precision_recall_curve(scores.targets, scores.probabilities)
    return _thinned(pd.DataFrame({"recall": recall, "precision": precision}))


def confusion_table(scores: Scores) -> pd.DataFrame:
    """Return one row per image with its actual and predicted class, as DVC's confusion template expects."""
    names = np.array(CLASS_NAMES)
    return pd.DataFrame({"actual": names[scores.targets], "predicted": names[scores.called]})


def roc_figure(models: Mapping[str, Mapping[str, Scores]]) -> Figure:
    """Draw the ROC curves of all models, a panel per subset, with the operating points marked."""
    figure, panels = _panels(models)
    for subset, axes in panels.items():
        for model, subsets in models.items():
            scores = subsets[subset]
            table = roc_table(scores)
            auc = sk.roc_auc_score(scores.targets, scores.probabilities)
            (line,) = axes.plot(
                table["false_positive_rate"], table["true_positive_rate"], label=f"{model} (AUC {auc:.3f})"
            )
            (tn, fp), (fn, tp) = sk.confusion_matrix(scores.targets, scores.called, labels=[0, 1])
            axes.plot(fp / (fp + tn), tp / (tp + fn), "o", color=line.get_color())
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=subset)
        axes.legend(loc="lower right")
        axes.grid(alpha=0.3)
    return figure


def pr_figure(models: Mapping[str, Mapping[str, Scores]]) -> Figure:
    """Draw the precision-recall curves of all models, a panel per subset, with the prevalence as a line."""
    figure, panels = _panels(models)
    for subset, axes in panels.items():
        for model, subsets in models.items():
            scores = subsets[subset]
            table = pr_table(scores)
            area = sk.average_precision_score(scores.targets, scores.probabilities)
            axes.plot(table["recall"], table["precision"], label=f"{model} (AP {area:.3f})")
        prevalence = float(next(iter(models.values()))[subset].targets.mean())
        axes.axhline(prevalence, color=GREY, linewidth=0.8, linestyle="--", label=f"prevalence {prevalence:.2f}")
        axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", title=subset, ylim=(0, 1.02))
        axes.legend(loc="lower left")
        axes.grid(alpha=0.3)
    return figure


def confusion_figure(models: Mapping[str, Mapping[str, Scores]]) -> Figure:
    """Draw the confusion matrices of all models (rows) and subsets (columns)."""
    subsets = list(next(iter(models.values())))
    figure = Figure(figsize=(4.2 * len(subsets), 3.4 * len(models)), layout="constrained")
    grid = figure.subplots(len(models), len(subsets), squeeze=False)
    for row, (model, scores) in zip(grid, models.items(), strict=True):
        for axes, subset in zip(row, subsets, strict=True):
            _draw_confusion(axes, scores[subset])
            axes.set_title(f"{model}, {subset}")
    return figure


def reliability_figure(models: Mapping[str, Mapping[str, SubsetReport]]) -> Figure:
    """Draw reliability diagrams of models (rows) on subsets (columns).

    Each point is a bin: the observed share of PNEUMONIA against the mean probability, before and after calibration,
    the latter with the 95% interval of the share. A perfectly calibrated model lies on the diagonal.
    """
    subsets = list(next(iter(models.values())))
    figure = Figure(figsize=(4.4 * len(subsets), 4.2 * len(models)), layout="constrained")
    grid = figure.subplots(len(models), len(subsets), squeeze=False)
    for row, (model, reports) in zip(grid, models.items(), strict=True):
        for axes, subset in zip(row, subsets, strict=True):
            _draw_reliability(axes, reports[subset].calibration)
            axes.set_title(f"{model}, {subset}")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG without matplotlib's version in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _draw_confusion(axes: Axes, scores: Scores) -> None:
    matrix = sk.confusion_matrix(scores.targets, scores.called, labels=[0, 1])
    shares = matrix / matrix.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(matrix):
        colour = "white" if shares[i, j] > 0.5 else "black"
        axes.text(j, i, f"{count}\n{shares[i, j]:.1%}", ha="center", va="center", color=colour)
    axes.set(xticks=[0, 1], yticks=[0, 1], xlabel="predicted", ylabel="actual")
    axes.set_xticklabels(CLASS_NAMES)
    axes.set_yticklabels(CLASS_NAMES, rotation=90, va="center")


def _draw_reliability(axes: Axes, calibration: CalibrationEffect) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    for name, quality, colour, marker in (
        ("before", calibration.before, GREY, "x"),
        ("after", calibration.after, "C0", "o"),
    ):
        probabilities = [entry.probability for entry in quality.reliability]
        shares = [entry.share for entry in quality.reliability]
        label = f"{name} (ECE {quality.ece:.3f}, Brier {quality.brier:.3f})"
        axes.plot(probabilities, [s.value for s in shares], marker=marker, color=colour, linewidth=1, label=label)
        if name == "after":
            lows, highs = (np.array([getattr(s, end) for s in shares], float) for end in ("low", "high"))
            axes.vlines(probabilities, lows, highs, color=colour, alpha=0.4)
    axes.set(xlabel="probability of PNEUMONIA", ylabel="share of PNEUMONIA", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), fontsize="small", frameon=False)
    axes.grid(alpha=0.3)


def _panels(models: Mapping[str, Mapping[str, Scores]]) -> tuple[Figure, dict[str, Axes]]:
    subsets = list(next(iter(models.values())))
    figure = Figure(figsize=(5.2 * len(subsets), 4.8), layout="constrained")
    return figure, dict(zip(subsets, figure.subplots(1, len(subsets), squeeze=False)[0], strict=True))


def _thinned(table: pd.DataFrame) -> pd.DataFrame:
    keep = np.unique(np.linspace(0, len(table) - 1, MAXIMUM_CURVE_POINTS).round().astype(int))
    return table.iloc[keep].round(6)
