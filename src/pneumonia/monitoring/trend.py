"""Trend of drift reports over time: the history of a folder, and an HTML page that works offline."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib.dates as dates
import pandas as pd
import pydantic
from matplotlib.figure import Figure
from pydantic import AwareDatetime

from pneumonia.core import files
from pneumonia.core.errors import MonitoringError
from pneumonia.core.model import FrozenModel
from pneumonia.monitoring.drift_report import DriftReport

HISTORY = "history.jsonl"
PAGE = "trend.html"
MINIMUM_REPORTS = 3
"""Smallest number of reports of a model for a trend page."""
PANELS = {
    "Largest distance from the reference profile": ("distance",),
    "Share of images": ("answered", "refused", "unreadable"),
    "Share of answers": ("positive", "indeterminate"),
    "Mean probability and familiarity": ("probability", "familiarity"),
}
STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc}
svg{width:100%;height:auto}.alert{color:#a40000;font-weight:bold}"""


class TrendPoint(FrozenModel):
    """One line of the history: the main figures of a drift report.

    Attributes:
        model: name of the model in params.yaml.
        version: version in the registry; None for a bundle that is not from the registry.
        bundle_sha256: hash of the model's bundle.
        last: time of the last prediction in the window.
        images: number of predictions in the window.
        alert: whether any column has changed.
        changed: names of the columns that have changed.
        answered: share of images that were answered, 0 to 1; this and the next four as in `drift_report.Rates`.
        refused: share of images that were refused.
        unreadable: share of files that could not be decoded.
        positive: share of answers that are PNEUMONIA.
        indeterminate: share of answers that are INDETERMINATE.
        probability: mean probability of PNEUMONIA.
        familiarity: mean familiarity.
        distance: largest distance of a column from the reference profile, 0 to 1.
    """

    model: str
    version: int | None
    bundle_sha256: str
    last: AwareDatetime
    images: int
    alert: bool
    changed: tuple[str, ...]
    answered: float | None
    refused: float | None
    unreadable: float | None
    positive: float | None
    indeterminate: float | None
    probability: float | None
    familiarity: float | None
    distance: float

    @classmethod
    def of(cls, report: DriftReport) -> "TrendPoint":
        """Return the main figures of a report."""
        return cls(
            model=report.model,
            version=report.version,
            bundle_sha256=report.bundle_sha256,
            last=report.last,
            images=report.images,
            alert=report.alert,
            changed=report.changed,
            **dict(report.window.rates),
            probability=report.window.means["probability"],
            familiarity=report.window.means["familiarity"],
            distance=max(column.distance for column in report.columns),
        )


def append(report: DriftReport, folder: Path) -> list[TrendPoint]:
    """Append a report to the history of a folder, and return the history of its model, the oldest window first.

    Of several reports whose windows end at the same time, the latest one is returned.

    Raises:
        MonitoringError: the history holds a line of another version.
    """
    history = folder / HISTORY
    with history.open("a", encoding="utf-8") as file:
        file.write(TrendPoint.of(report).model_dump_json() + "\n")
    try:
        points = [TrendPoint.model_validate_json(line) for line in history.read_text(encoding="utf-8").splitlines()]
    except pydantic.ValidationError as error:
        raise MonitoringError(
            f"{history} holds a line that is not of this version ({error}). Delete the file, or choose another folder "
            "(--out)."
        ) from None
    by_end = {point.last: point for point in points if point.bundle_sha256 == report.bundle_sha256}
    return [by_end[last] for last in sorted(by_end)]


def write_page(points: Sequence[TrendPoint], file: Path) -> None:
    """Write the trend page of one model.

    Args:
        points: history of the model, the oldest window first, at least one.
        file: HTML file to write.
    """
    model = html.escape(points[-1].model)
    rows = "\n".join(_row(point) for point in reversed(points))
    head = "".join(f"<th scope=col>{name}</th>" for name in ("Until", "Images", "Result", "Changed columns"))
    files.write_text(
        file,
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Drift of {model} over time</title><style>{STYLE}</style><h1>Drift of {model} over time</h1>"
        f"<p>{len(points)} windows compared with the reference profile. Red: alert.</p>"
        f"{_plot(points)}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></html>\n",
    )


def _row(point: TrendPoint) -> str:
    result = "<td class=alert>alert</td>" if point.alert else "<td>no drift</td>"
    changed = html.escape(", ".join(point.changed))
    return f"<tr><td>{point.last.isoformat()}</td><td>{point.images}</td>{result}<td>{changed}</td></tr>"


def _plot(points: Sequence[TrendPoint]) -> str:
    """Return the panels as SVG."""
    table = pd.DataFrame([dict(point) for point in points])
    times = pd.to_datetime(table["last"])
    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 2, sharex=True).flat, PANELS.items(), strict=True):
        for name in names:
            values = table[name].astype(float)
            axes.plot(times, values, ".-", label=name)
            axes.plot(times[table["alert"]], values[table["alert"]], "o", color="#a40000", label=None)
        axes.set(title=title, ylim=(-0.03, 1.03))
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
        if len(names) > 1:
            axes.legend(loc="best")
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    description = html.escape("; ".join(PANELS))
    return text[text.index("<svg") :].replace("<svg", f"<svg role=img aria-label='{description}'", 1)
