"""Pictures of the shortcut audit: charts of its figures, and its perturbations shown on a phantom."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pneumonia.data import phantom
from pneumonia.evaluation.shortcuts_report import NAMES, PARTS
from pneumonia.images.perturb import PERTURBATIONS

ALARM, CALM, LIMIT = "#c0392b", "#2c6fab", "#888888"


def data_figure(data: Mapping[str, Any]) -> Figure:
    """Draw the AUC of every witness on development and test; the zone of the alarm is shaded."""
    witnesses, limit = data["witnesses"], data["limit"]
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for axes, part in zip(figure.subplots(1, 2, sharey=True), PARTS, strict=True):
        for row, entry in enumerate(witnesses.values()):
            told = entry[part]
            axes.errorbar(
                told["auc"],
                row,
                xerr=[[told["auc"] - told["low"]], [told["high"] - told["auc"]]],
                fmt="o" if entry["can_alarm"] else "s",
                markerfacecolor=None if entry["can_alarm"] else "white",
                color=ALARM if told["alarm"] else CALM,
                capsize=3,
            )
        for start, end in ((0, 1 - limit), (limit, 1)):
            axes.axvspan(start, end, color=ALARM, alpha=0.07)
        axes.axvline(0.5, color=LIMIT, linewidth=0.8, linestyle="--")
        axes.set(xlim=(min(0.3, 1 - limit), 1.02), xlabel="AUC without looking at a lung", title=part)
        axes.set_yticks(range(len(witnesses)), [NAMES[name] for name in witnesses])
        axes.grid(axis="x", alpha=0.3)
    axes.invert_yaxis()
    figure.suptitle("Red: surely in the shaded zone. Hollow: follows the content, raises no alarm.", fontsize=10)
    return figure


def model_figure(models: Mapping[str, Any], limits: Mapping[str, Any]) -> Figure:
    """Draw the AUC of all images and of those that are alike, and the decisions that perturbations turn."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    facts = list(next(iter(models.values()))["matched"])
    for position, (name, model) in enumerate(models.items()):
        shown = [model["auc"], *(model["matched"][fact].get("auc") for fact in facts)]
        shift = _shift(position, len(models))
        _draw_intervals(left, shown, shift, name)
        _draw_intervals(right, [change["flipped"] for change in model.get("perturbations", {}).values()], shift, name)
    left.axhline(limits["minimum_matched_auc"], color=LIMIT, linewidth=0.8, linestyle="--", label="limit when alike")
    left.set_xticks(range(len(facts) + 1), ["all images", *(f"alike in\n{NAMES[fact]}" for fact in facts)])
    left.set(ylabel="AUC on test", title="What is left among images that are alike")
    right.axhline(limits["maximum_flipped"], color=LIMIT, linewidth=0.8, linestyle="--", label="limit of mild changes")
    right.set_xticks(range(len(PERTURBATIONS)), [NAMES[name] for name in PERTURBATIONS], rotation=30, ha="right")
    right.set(ylabel="share of decisions turned", title="The same image, stored in another way")
    for axes in (left, right):
        axes.legend(fontsize=8)
        axes.grid(axis="y", alpha=0.3)
    return figure


def perturbation_figure(size: int) -> Figure:
    """Show each perturbation on one phantom, decoded to (size, size) as the models see it."""
    drawn = phantom.draw(np.random.default_rng(5), "bacteria", size=2 * size, difficulty=0.3).pixels
    pixels = np.asarray(Image.fromarray(drawn).resize((size, size), Image.Resampling.BILINEAR))
    aspect = drawn.shape[1] / drawn.shape[0]
    pictures = {"as the model sees it": pixels} | {
        NAMES[name]: change(pixels, aspect) for name, change in PERTURBATIONS.items()
    }
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, (name, picture) in zip(figure.subplots(2, 4).flat, pictures.items(), strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(name, fontsize=9)
        axes.axis("off")
    figure.suptitle("A phantom (a drawing, no patient)", fontsize=10)
    return figure


def _draw_intervals(axes: Axes, figures: Sequence[Mapping[str, float] | None], shift: float, label: str) -> None:
    points = [(place + shift, told) for place, told in enumerate(figures) if told is not None]
    if not points:
        return
    values = np.array([told["value"] for _, told in points])
    ends = np.array(
        [[told["low"], told["high"]] if told["low"] is not None else [told["value"]] * 2 for _, told in points]
    )
    errors = np.abs(ends.T - values)
    axes.errorbar([place for place, _ in points], values, yerr=errors, fmt="o", capsize=3, label=label)


def _shift(position: int, count: int) -> float:
    return 0.16 * (position - (count - 1) / 2)
