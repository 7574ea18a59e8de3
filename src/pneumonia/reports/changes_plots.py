"""Curves of both states: as Mermaid charts, which GitHub draws in a comment, and as pictures.

A comment on a pull request from a fork can only contain text, hence the charts.
"""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn import metrics as sk

from pneumonia.core.labels import CLASS_NAMES
from pneumonia.evaluation import figures
from pneumonia.evaluation.figures import Scores
from pneumonia.reports.changes import SUBSETS
from pneumonia.reports.project_state import State

SUBSET = "test"
POINTS = 41
CORNER = 0.4
"""Largest false positive rate, and complement of the smallest recall, of the charts."""

GREY, BLUE, SILVER = "#8c8c8c", "#1f77d0", "#c9c9c9"
"""Colours of the base, the change and the diagonal, legible on light and dark pages."""

Array = NDArray[np.float64]


def charts(base: tuple[State, str] | None, change: tuple[State, str]) -> str:
    """Return ROC, precision-recall and reliability on the test images as Mermaid blocks, empty with a single class.

    Args:
        base: a state and one of its models; None where there is none to compare with.
        change: a state and one of its models.
    """
    pair = [change] if base is None else [base, change]
    scores = [Scores.of(state.predictions[model], SUBSET) for state, model in pair]
    if any(len(np.unique(one.targets)) < len(CLASS_NAMES) for one in scores):
        return ""
    rates = np.linspace(0, CORNER, POINTS)
    recalls = np.linspace(1 - CORNER, 1, POINTS)
    drawn = [
        _chart("ROC", ("1 - specificity", rates), "sensitivity", [_roc(one, rates) for one in scores]),
        _chart("Precision-recall", ("recall", recalls), "precision", [_pr(one, recalls) for one in scores]),
        _reliability([_bins(state, model) for state, model in pair]),
    ]
    return "\n\n".join(drawn)


def pictures(base: tuple[State, str] | None, change: tuple[State, str]) -> dict[str, Figure]:
    """Draw ROC, precision-recall and reliability, by name; subsets with a single class are left out."""
    states = {"change": change} if base is None else {"base": base, "change": change}
    subsets = [
        subset
        for subset in SUBSETS
        if all(_has_both_classes(state, model, subset) for state, model in states.values())
    ]
    if not subsets:
        return {}
    scores = {
        f"{when}: {model}": {subset: Scores.of(state.predictions[model], subset) for subset in subsets}
        for when, (state, model) in states.items()
    }
    reports = {
        f"{when}: {model}": {subset: state.evaluations[model].subsets[subset] for subset in subsets}
        for when, (state, model) in states.items()
    }
    return {
        "roc": figures.roc_figure(scores),
        "pr": figures.pr_figure(scores),
        "reliability": figures.reliability_figure(reports),
    }


def _has_both_classes(state: State, model: str, subset: str) -> bool:
    report = state.evaluations[model].subsets.get(subset)
    return report is not None and min(report.images.values()) > 0


def _roc(scores: Scores, rates: Array) -> Array:
    """Return the highest sensitivity at or below each false positive rate."""
    fpr, tpr, _ = sk.roc_curve(scores.targets, scores.probabilities)
    return np.array([tpr[fpr <= rate].max() for rate in rates])


def _pr(scores: Scores, recalls: Array) -> Array:
    """Return the highest precision at or above each recall."""
    precision, recall, _ = sk.precision_recall_curve(scores.targets, scores.probabilities)
    return np.array([precision[recall >= minimum].max() for minimum in recalls])


def _bins(state: State, model: str) -> tuple[Array, Array]:
    """Return mean probability and share of PNEUMONIA per bin of the calibrated probability."""
    bins = state.evaluations[model].subsets[SUBSET].calibration.after.reliability
    return np.array([one.probability for one in bins]), np.array([one.share.value for one in bins])


def _reliability(models: list[tuple[Array, Array]]) -> str:
    """Draw the bins joined by lines over their common range; xychart requires evenly spaced points."""
    grid = np.linspace(max(p[0] for p, _ in models), min(p[-1] for p, _ in models), POINTS)
    lines = [np.interp(grid, probabilities, shares) for probabilities, shares in models]
    axis = ("probability of PNEUMONIA", grid)
    return _chart("Reliability", axis, "share of PNEUMONIA", lines, diagonal=grid)


def _chart(title: str, x: tuple[str, Array], y: str, lines: list[Array], diagonal: Array | None = None) -> str:
    names = "blue change" if len(lines) == 1 else "grey base, blue change"
    colours = [BLUE] if len(lines) == 1 else [GREY, BLUE]
    if diagonal is not None:
        lines, colours, names = [diagonal, *lines], [SILVER, *colours], f"{names}, light ideal"
    label, ticks = x
    floor = np.floor(np.min(lines) * 10) / 10
    palette = ", ".join(colours)
    return "\n".join(
        [
            "```mermaid",
            '%%{init: {"xyChart": {"width": 640, "height": 320, "titleFontSize": 16}, '
            f'"themeVariables": {{"xyChart": {{"plotColorPalette": "{palette}"}}}}}}}}%%',
            "xychart-beta",
            f'    title "{title} ({names})"',
            f'    x-axis "{label}" {ticks[0]:.2f} --> {ticks[-1]:.2f}',
            f'    y-axis "{y}" {floor:.1f} --> 1',
            *(f"    line [{', '.join(f'{value:.3f}' for value in line)}]" for line in lines),
            "```",
        ]
    )
