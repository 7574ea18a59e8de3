"""Figures of the shortcut audit: its results, and the perturbations applied to a phantom."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pneumonia.audit.audit_report import PARTS, DataAudit, ModelAudit
from pneumonia.audit.perturbations import PERTURBATIONS
from pneumonia.audit.shortcuts_page import NAMES
from pneumonia.core.estimate import Estimate
from pneumonia.data import phantom

RED, BLUE, GREY = "#c0392b", "#2c6fab", "#888888"


def data_figure(data: DataAudit) -> Figure:
    """Draw the AUC of every predictor on development and test; the zone of the alarm is shaded."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for axes, part in zip(figure.subplots(1, 2, sharey=True), PARTS, strict=True):
        for row, predictor in enumerate(data.predictors.values()):
            auc = predictor.on(part).auc
            low, high = auc.ends
            axes.errorbar(
                auc.value,
                row,
                xerr=[[auc.value - low], [high - auc.value]],
                fmt="o" if predictor.can_alarm else "s",
                markerfacecolor=None if predictor.can_alarm else "white",
                color=RED if predictor.on(part).alarm else BLUE,
                capsize=3,
            )
        for start, end in ((0, 1 - data.limit), (data.limit, 1)):
            axes.axvspan(start, end, color=RED, alpha=0.07)
        axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle="--")
        axes.set(xlim=(min(0.3, 1 - data.limit), 1.02), xlabel="AUC without using the lungs", title=part)
        axes.set_yticks(range(len(data.predictors)), [NAMES[name] for name in data.predictors])
        axes.grid(axis="x", alpha=0.3)
    axes.invert_yaxis()
    figure.suptitle("Red: interval in the shaded zone. Hollow: depends on the content, raises no alarm.", fontsize=10)
    return figure


def model_figure(models: Mapping[str, ModelAudit]) -> Figure:
    """Draw the AUC of all and of matched images, and the share of decisions that perturbations change."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    first = next(iter(models.values()))
    for position, (name, model) in enumerate(models.items()):
        shift = 0.16 * (position - (len(models) - 1) / 2)
        _draw_intervals(left, [model.auc, *(entry.auc for entry in model.matched.values())], shift, name)
        _draw_intervals(right, [entry.flipped for entry in model.perturbations.values()], shift, name)
    left.axhline(first.limits.minimum_matched_auc, color=GREY, linewidth=0.8, linestyle="--", label="limit, matched")
    left.set_xticks(range(len(first.matched) + 1), ["all images", *(f"matched by\n{NAMES[n]}" for n in first.matched)])
    left.set(ylabel="AUC on test", title="AUC among matched images")
    right.axhline(first.limits.maximum_flipped, color=GREY, linewidth=0.8, linestyle="--", label="limit, mild")
    right.set_xticks(range(len(PERTURBATIONS)), [NAMES[name] for name in PERTURBATIONS], rotation=30, ha="right")
    right.set(ylabel="share of decisions changed", title="Perturbed images")
    for axes in (left, right):
        axes.legend(fontsize=8)
        axes.grid(axis="y", alpha=0.3)
    return figure


def perturbation_figure(size: int) -> Figure:
    """Draw each perturbation of one phantom, decoded to (size, size) as for the models."""
    drawn = phantom.draw(np.random.default_rng(5), "bacteria", size=2 * size, difficulty=0.3).pixels
    pixels = np.asarray(Image.fromarray(drawn).resize((size, size), Image.Resampling.BILINEAR))
    aspect = drawn.shape[1] / drawn.shape[0]
    pictures = {"unperturbed": pixels} | {
        NAMES[name]: change(pixels, aspect) for name, change in PERTURBATIONS.items()
    }
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, (name, picture) in zip(figure.subplots(2, 4).flat, pictures.items(), strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(name, fontsize=9)
        axes.axis("off")
    figure.suptitle("A phantom (drawn, not a patient)", fontsize=10)
    return figure


def _draw_intervals(axes: Axes, estimates: Sequence[Estimate | None], shift: float, label: str) -> None:
    points = [(place + shift, estimate) for place, estimate in enumerate(estimates) if estimate is not None]
    if not points:
        return
    values = np.array([estimate.value for _, estimate in points])
    errors = np.abs(np.array([estimate.ends for _, estimate in points]).T - values)
    axes.errorbar([place for place, _ in points], values, yerr=errors, fmt="o", capsize=3, label=label)
