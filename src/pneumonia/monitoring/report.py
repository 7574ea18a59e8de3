"""A report of a window: what a machine reads, and what Prometheus collects."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from pneumonia.errors import MonitoringError
from pneumonia.inference.files import INDETERMINATE
from pneumonia.labels import POSITIVE
from pneumonia.monitoring.change import CATEGORIES, LOGGED, ORDERED, WATCHED, Comparison
from pneumonia.monitoring.log import Log, Window
from pneumonia.monitoring.profile import MODEL

READ = (*LOGGED, *MODEL, "version", "time", "latency_ms")
"""Columns of the log that a report needs."""


def read_window(log: Log, window: Window) -> pd.DataFrame:
    """Return the predictions of a window, columns `READ`.

    Raises:
        MonitoringError: there are none.
    """
    found = log.window(window, READ)
    if found.empty:
        known = ", ".join(f"{each.model} ({each.predictions})" for each in log.models()) or "none at all"
        raise MonitoringError(
            f"the log has no predictions of this model in the window; in all it has: {known}. Name another log "
            "(--log) or another model (--bundle, --reference), or look further back (--window, --since)."
        )
    return found


def assemble(comparison: Comparison, reference: pd.DataFrame, window: pd.DataFrame) -> dict[str, Any]:
    """Return the report for machines: model, window, alert, changes by column, rates, means, what is missing."""
    last = window.iloc[-1]
    return {
        "model": last["model"],
        "version": None if pd.isna(last["version"]) else int(last["version"]),
        "bundle_sha256": last["bundle_sha256"],
        "first": _iso(window["time"].iloc[0]),
        "last": _iso(last["time"]),
        "images": comparison.images,
        "reference_images": comparison.reference_images,
        "false_alarm_rate": comparison.false_alarm_rate,
        "alert": comparison.alert,
        "changed": list(comparison.changed),
        "columns": [asdict(column) for column in comparison.columns],
        "window": facts(window) | {"latency_ms": _rounded(window["latency_ms"].median())},
        "reference": facts(reference),
    }


def facts(table: pd.DataFrame) -> dict[str, Any]:
    """Return shares of what came of the images, means of the figures, and the share of values that are missing."""
    answered = table[table["status"] == "answered"]
    return {
        "rates": {
            "answered": _share(table["status"] == "answered"),
            "refused": _share(table["status"] == "refused"),
            "unreadable": _share(table["status"] == "unreadable"),
            "positive": _share(answered["decision"] == POSITIVE),
            "indeterminate": _share(answered["decision"] == INDETERMINATE),
        },
        "means": {column: _rounded(table[column].mean()) for column in ORDERED},
        "missing": {column: _share(table[column].isna()) for column in (*CATEGORIES, *ORDERED)},
    }


def write_gauges(report: Mapping[str, Any], file: Path) -> None:
    """Write a report as gauges for the textfile collector of Prometheus' node_exporter; readers see all or nothing."""
    registry = CollectorRegistry()
    version = "" if report["version"] is None else str(report["version"])
    model = {"model": report["model"], "version": version, "bundle_sha256": report["bundle_sha256"]}

    def gauge(name: str, said: str, *labels: str) -> Gauge:
        return Gauge(f"pneumonia_monitor_{name}", said, [*model, *labels], registry=registry)

    gauge("alert", "1 where logged predictions differ from the reference.").labels(**model).set(report["alert"])
    gauge("images", "Predictions in the window.").labels(**model).set(report["images"])
    last = datetime.fromisoformat(report["last"]).timestamp()
    gauge("last_prediction_seconds", "When the newest of them was made.").labels(**model).set(last)
    p_value = gauge("p_value", "Of the whole report's test, by column.", "column")
    distance = gauge("distance", "Between window and reference, 0 to 1.", "column")
    for column in report["columns"]:
        p_value.labels(**model, column=column["column"]).set(column["p_value"])
        distance.labels(**model, column=column["column"]).set(column["distance"])
    rate = gauge("rate", "Share of the images, or of the answers.", "what")
    for what, share in report["window"]["rates"].items():
        if share is not None:
            rate.labels(**model, what=what).set(share)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(file), registry)


def in_words(report: Mapping[str, Any]) -> str:
    """Return the report in a few lines."""
    span = f"{report['images']} predictions of {report['model']}, {report['first']} to {report['last']}"
    if not report["alert"]:
        return f"quiet: {span}: like the {report['reference_images']} images of the reference"
    lines = [f"ALERT: {span}: {len(report['changed'])} of {len(WATCHED)} columns have changed"]
    lines += [
        f"  {column['column']}: distance {column['distance']:.3f}, p {column['p_value']:.4f}"
        for column in report["columns"]
        if column["changed"]
    ]
    return "\n".join(lines)


def _share(holds: pd.Series) -> float | None:
    return _rounded(holds.mean())


def _rounded(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 6)


def _iso(moment: pd.Timestamp) -> str:
    return moment.isoformat(timespec="seconds")
