"""Figures of a split: classes in each subset, and sizes of the subsets."""

import pandas as pd
from matplotlib.figure import Figure

from pneumonia.core.labels import CAUSES, SUBSETS

COLOURS = {"normal": "#4c78a8", "bacteria": "#e45756", "virus": "#f2a35e", "unknown": "#9d9da3"}
NAMES = {
    "normal": "normal",
    "bacteria": "pneumonia, bacterial",
    "virus": "pneumonia, viral",
    "unknown": "pneumonia, cause unknown",
}
SHADES = {"train": "#31688e", "validation": "#1f8a5f", "test": "#8a6d1f"}


def class_distribution(splits: pd.DataFrame) -> Figure:
    """Return grouped bars of the images in each subset by class, pneumonia by cause, with counts."""
    counts = splits.groupby(["subset", "cause"]).size().unstack(fill_value=0).reindex(SUBSETS, fill_value=0)
    causes = [cause for cause in CAUSES if cause in counts.columns]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(causes)
    for index, cause in enumerate(causes):
        positions = [position + (index - (len(causes) - 1) / 2) * width for position in range(len(SUBSETS))]
        bars = axes.bar(positions, counts[cause], width * 0.94, color=COLOURS[cause], label=NAMES[cause])
        axes.bar_label(bars, labels=[f"{count:,}" for count in counts[cause]], padding=2, fontsize=9)
    axes.set_xticks(range(len(SUBSETS)), [f"{name}\n{total:,} images" for name, total in counts.sum(axis=1).items()])
    axes.set_ylabel("images")
    axes.set_title("Classes in each subset", loc="left")
    axes.margins(y=0.1)
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def split_ratio(splits: pd.DataFrame) -> Figure:
    """Return the share of each subset in images and in patient groups, as two stacked bars."""
    counts = splits.groupby("subset")["group"].agg(images="size", groups="nunique").reindex(SUBSETS, fill_value=0)
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for row, unit in enumerate(["images", "groups"]):
        left = 0.0
        for subset in SUBSETS:
            share = counts.loc[subset, unit] / counts[unit].sum()
            axes.barh(row, share, left=left, height=0.6, color=SHADES[subset], label=subset if row == 0 else None)
            text = f"{share:.1%}\n{counts.loc[subset, unit]:,}"
            axes.text(left + share / 2, row, text, ha="center", va="center", color="white", fontsize=10, weight="bold")
            left += share
    axes.set_yticks([0, 1], ["images", "patient groups"])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Share of each subset", loc="left")
    figure.legend(loc="outside lower center", ncols=len(SUBSETS), frameon=False)
    return figure
