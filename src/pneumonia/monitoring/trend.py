"""The reports of a folder, one after the other, and the page that shows them: one HTML file that needs no network."""

import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.dates as dates
import pandas as pd
from matplotlib.figure import Figure

HISTORY = "history.jsonl"
PAGE = "trend.html"
ENOUGH = 3
"""Reports of a model that make a trend."""
PANELS = {
    "Largest distance from the reference": ("distance",),
    "Share of the images": ("answered", "refused", "unreadable"),
    "Share of the answers": ("positive", "indeterminate"),
    "Mean probability and familiarity": ("probability", "familiarity"),
}
TOLD = ("model", "version", "bundle_sha256", "last", "images", "alert", "changed")
STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc}
svg{width:100%;height:auto}.alert{color:#a40000;font-weight:bold}"""


def note(report: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Add a report to the history of a folder, and return those of the same model in the order of their windows."""
    history = folder / HISTORY
    with history.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_line(report)) + "\n")
    lines = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    of_model = {line["last"]: line for line in lines if line["bundle_sha256"] == report["bundle_sha256"]}
    return [of_model[last] for last in sorted(of_model)]


def write(lines: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write the page of the reports of one model, the oldest first."""
    model = html.escape(lines[-1]["model"])
    rows = "\n".join(_row(line) for line in reversed(lines))
    head = "".join(f"<th scope=col>{name}</th>" for name in ("Until", "Images", "Verdict", "Changed"))
    file.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Trend of {model}</title><style>{STYLE}</style>"
        f"<h1>Trend of {model}</h1><p>{len(lines)} windows against the reference profile; red: an alert.</p>"
        f"{_picture(lines)}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></html>\n",
        encoding="utf-8",
    )


def _line(report: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: report[key] for key in TOLD}
    means = {key: report["window"]["means"][key] for key in ("probability", "familiarity")}
    distance = max(column["distance"] for column in report["columns"])
    return {**told, **report["window"]["rates"], **means, "distance": distance}


def _row(line: Mapping[str, Any]) -> str:
    verdict = "<td class=alert>alert</td>" if line["alert"] else "<td>quiet</td>"
    changed = html.escape(", ".join(line["changed"]))
    return f"<tr><td>{html.escape(line['last'])}</td><td>{line['images']}</td>{verdict}<td>{changed}</td></tr>"


def _picture(lines: Sequence[Mapping[str, Any]]) -> str:
    """Draw the panels as SVG."""
    table = pd.DataFrame(list(lines))
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
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    alternative = html.escape("; ".join(PANELS))
    return text[text.index("<svg") :].replace("<svg", f"<svg role=img aria-label='{alternative}'", 1)
