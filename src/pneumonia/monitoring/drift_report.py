"""Drift report of a window: the typed report, its summary as text, and its metrics for Prometheus."""

import math
from pathlib import Path

import pandas as pd
import pydantic
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from pydantic import AwareDatetime

from pneumonia.core.errors import MonitoringError
from pneumonia.core.labels import POSITIVE
from pneumonia.core.model import FrozenModel
from pneumonia.inference.image_files import INDETERMINATE
from pneumonia.monitoring.detection import CATEGORIES, COMPARED, LOGGED, NUMERICAL, ColumnDrift, DriftTest
from pneumonia.monitoring.log import Log, Window
from pneumonia.monitoring.profile import MODEL

FILE = "report.json"
"""Name of the report in the folder of `pneumonia monitor`."""
WINDOW_COLUMNS = (*LOGGED, *MODEL, "version", "time", "latency_ms")
"""Columns of the prediction log that a report needs."""


class Rates(FrozenModel):
    """Shares of outcomes, 0 to 1; None where there is no image.

    Attributes:
        answered: share of images that were answered.
        refused: share of images that were refused.
        unreadable: share of files that could not be decoded.
        positive: share of answers that are PNEUMONIA.
        indeterminate: share of answers that are INDETERMINATE.
    """

    answered: float | None
    refused: float | None
    unreadable: float | None
    positive: float | None
    indeterminate: float | None


class SampleStatistics(FrozenModel):
    """Descriptive statistics of a window or of a reference profile.

    Attributes:
        rates: shares of outcomes.
        means: mean of each numerical column.
        missing: share of missing values of each column, 0 to 1.
    """

    rates: Rates
    means: dict[str, float | None]
    missing: dict[str, float | None]


class WindowStatistics(SampleStatistics):
    """Descriptive statistics of a window.

    Attributes:
        latency_ms: median latency; None where it was not measured.
    """

    latency_ms: float | None


class DriftReport(FrozenModel):
    """Comparison of a window of logged predictions with the reference profile of their model.

    Attributes:
        model: name of the model in params.yaml.
        version: version in the registry; None for a bundle that is not from the registry.
        bundle_sha256: hash of the model's bundle.
        first: time of the first prediction in the window.
        last: time of the last prediction in the window.
        images: number of predictions in the window.
        reference_images: number of images in the reference profile.
        false_alarm_rate: significance level of the report.
        alert: whether any column has changed.
        changed: names of the columns that have changed.
        columns: drift of each column, the largest first.
        window: statistics of the window.
        reference: statistics of the reference profile.
    """

    model: str
    version: int | None
    bundle_sha256: str
    first: AwareDatetime
    last: AwareDatetime
    images: int
    reference_images: int
    false_alarm_rate: float
    alert: bool
    changed: tuple[str, ...]
    columns: tuple[ColumnDrift, ...]
    window: WindowStatistics
    reference: SampleStatistics

    def summary(self) -> str:
        """Return the report in a few lines of plain text."""
        span = f"{self.images} predictions of {self.model}, {self.first.isoformat()} to {self.last.isoformat()}"
        if not self.alert:
            return f"no drift: {span}: like the {self.reference_images} images of the reference profile"
        lines = [f"ALERT: {span}: {len(self.changed)} of {len(COMPARED)} columns have changed"]
        lines += [
            f"  {column.column}: distance {column.distance:.3f}, p {column.p_value:.4f}"
            for column in self.columns
            if column.changed
        ]
        return "\n".join(lines)


def read_window(log: Log, window: Window) -> pd.DataFrame:
    """Return the logged predictions of a window, columns `WINDOW_COLUMNS`.

    Raises:
        MonitoringError: the window is empty.
    """
    predictions = log.window(window, WINDOW_COLUMNS)
    if predictions.empty:
        logged = ", ".join(f"{model.model} ({model.predictions})" for model in log.models()) or "none"
        raise MonitoringError(
            f"expected predictions of this model in the window, found none. Predictions in the log: {logged}. "
            "Name another log (--log) or another model (--bundle, --reference), or choose a longer window (--window, "
            "--since)."
        )
    return predictions


def assemble(test: DriftTest, reference: pd.DataFrame, window: pd.DataFrame) -> DriftReport:
    """Return the report of a drift test.

    Args:
        test: drift test of the same reference and window.
        reference: the reference profile.
        window: as `read_window` returns it.
    """
    last = window.iloc[-1]
    return DriftReport(
        model=last["model"],
        version=None if pd.isna(last["version"]) else int(last["version"]),
        bundle_sha256=last["bundle_sha256"],
        first=window["time"].iloc[0].floor("s").to_pydatetime(),
        last=last["time"].floor("s").to_pydatetime(),
        images=test.images,
        reference_images=test.reference_images,
        false_alarm_rate=test.false_alarm_rate,
        alert=test.alert,
        changed=test.changed,
        columns=test.columns,
        window=WindowStatistics(**vars(describe(window)), latency_ms=_rounded(window["latency_ms"].median())),
        reference=describe(reference),
    )


def describe(table: pd.DataFrame) -> SampleStatistics:
    """Return the statistics of a table with the columns `detection.LOGGED`."""
    answered = table[table["status"] == "answered"]
    return SampleStatistics(
        rates=Rates(
            answered=_share(table["status"] == "answered"),
            refused=_share(table["status"] == "refused"),
            unreadable=_share(table["status"] == "unreadable"),
            positive=_share(answered["decision"] == POSITIVE),
            indeterminate=_share(answered["decision"] == INDETERMINATE),
        ),
        means={column: _rounded(table[column].mean()) for column in NUMERICAL},
        missing={column: _share(table[column].isna()) for column in (*CATEGORIES, *NUMERICAL)},
    )


def read(file: Path) -> DriftReport:
    """Read a report that `pneumonia monitor` wrote.

    Raises:
        MonitoringError: the file cannot be read, or is not such a report.
    """
    try:
        return DriftReport.model_validate_json(file.read_bytes())
    except (OSError, pydantic.ValidationError) as error:
        raise MonitoringError(
            f"{file} is not a drift report of this version ({error}). Name the {FILE} that `pneumonia monitor` writes "
            "(--drift)."
        ) from None


def write_gauges(report: DriftReport, file: Path) -> None:
    """Write the report atomically as gauges for the textfile collector of Prometheus' node_exporter."""
    registry = CollectorRegistry()
    version = "" if report.version is None else str(report.version)
    model = {"model": report.model, "version": version, "bundle_sha256": report.bundle_sha256}

    def gauge(name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"pneumonia_monitor_{name}", description, [*model, *labels], registry=registry)

    gauge("alert", "1 if logged predictions differ from the reference profile.").labels(**model).set(report.alert)
    gauge("images", "Number of predictions in the window.").labels(**model).set(report.images)
    last = gauge("last_prediction_seconds", "Unix time of the last prediction in the window.")
    last.labels(**model).set(report.last.timestamp())
    p_value = gauge("p_value", "Adjusted p-value, by column.", "column")
    distance = gauge("distance", "Distance between window and reference profile, 0 to 1, by column.", "column")
    for column in report.columns:
        p_value.labels(**model, column=column.column).set(column.p_value)
        distance.labels(**model, column=column.column).set(column.distance)
    rate = gauge("rate", "Share of images or of answers, by outcome.", "what")
    for outcome, share in report.window.rates:
        if share is not None:
            rate.labels(**model, what=outcome).set(share)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(file), registry)


def _share(condition: pd.Series) -> float | None:
    return _rounded(condition.mean())


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)
