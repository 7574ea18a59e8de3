"""Pictures and plot tables of training and evaluation; the same numbers give the same bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn import metrics as sk

from pneumonia.labels import CLASS_NAMES

MAXIMUM_CURVE_POINTS = 200
GREY = "#888888"


@dataclass(frozen=True)
class Scores:
    """A model's answers on one subset: targets (N,) of 0 or 1, probabilities (N,) and the operating point."""

    targets: NDArray[np.integer]
    probabilities: NDArray[np.float64]
    threshold: float

    @property
    def called(self) -> NDArray[np.integer]:
        """Decisions (N,) of 0 or 1 at the operating point."""
        return (self.probabilities >= self.threshold).astype(int)


def roc_table(scores: Scores) -> pd.DataFrame:
    """Return the ROC curve: columns false_positive_rate and true_positive_rate, thinned to some 200 points."""
    fpr, tpr, _ = sk.roc_curve(scores.targets, scores.probabilities)
    return _thinned(pd.DataFrame({"false_positive_rate": fpr, "true_positive_rate": tpr}))


def pr_table(scores: Scores) -> pd.DataFrame:
    """Return the precision-recall curve: columns recall and precision, thinned to some 200 points."""
    precision, recall, _ = sk.precision_recall_curve(scores.targets, scores.probabilities)
    return _thinned(pd.DataFrame({"recall": recall, "precision": precision}))


def confusion_table(scores: Scores) -> pd.DataFrame:
    """Return one row per image with its actual and predicted class, as DVC's confusion template wants it."""
    names = np.array(CLASS_NAMES)
    return pd.DataFrame({"actual": names[scores.targets], "predicted": names[scores.called]})


def learning_curves(history: pd.DataFrame, title: str) -> Figure:
    """Draw loss and accuracy of training and validation per epoch."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for column, label in ((metric, "training"), (f"val_{metric}", "validation")):
            axes.plot(history["epoch"], history[column], marker="o", markersize=4, label=label)
        axes.set(xlabel="epoch", ylabel=metric, xticks=_ticks(history["epoch"]))
        axes.legend()
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    return figure


def roc_figure(models: Mapping[str, Mapping[str, Scores]]) -> Figure:
    """Draw the ROC curves of all models, a panel per subset, operating points marked."""
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


def reliability_figure(judgements: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw what `judgement.judge` found of the calibration of models (rows) on subsets (columns).

    Each point is a bin: the share of PNEUMONIA against the mean probability, before and after calibration, the latter
    with the 95% interval of the share. On the diagonal, probabilities mean what they say.
    """
    subsets = list(next(iter(judgements.values()))["subsets"])
    figure = Figure(figsize=(4.4 * len(subsets), 4.2 * len(judgements)), layout="constrained")
    grid = figure.subplots(len(judgements), len(subsets), squeeze=False)
    for row, (model, judged) in zip(grid, judgements.items(), strict=True):
        for axes, subset in zip(row, subsets, strict=True):
            _draw_reliability(axes, judged["subsets"][subset]["calibration"])
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


def _draw_reliability(axes: Axes, calibration: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    for moment, colour, marker in (("before", GREY, "x"), ("after", "C0", "o")):
        table = pd.json_normalize(calibration[moment]["reliability"])
        label = f"{moment} (ECE {calibration[moment]['ece']:.3f}, Brier {calibration[moment]['brier']:.3f})"
        axes.plot(table["probability"], table["share.value"], marker=marker, color=colour, linewidth=1, label=label)
        if moment == "after":
            axes.vlines(table["probability"], table["share.low"], table["share.high"], color=colour, alpha=0.4)
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


def _ticks(epochs: "pd.Series[int]") -> list[int]:
    return list(epochs[:: max(1, len(epochs) // 8)])
