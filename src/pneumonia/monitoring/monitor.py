"""Compare the logged predictions of a model with its reference profile, and write all reports of it."""

from dataclasses import dataclass
from pathlib import Path

from pneumonia.core import files
from pneumonia.monitoring import detection, drift, drift_report, mlflow_report, profile, trend
from pneumonia.monitoring.drift_report import DriftReport
from pneumonia.monitoring.log import Log, Window
from pneumonia.monitoring.settings import MonitorParams
from pneumonia.registry import tracking

HTML = "report.html"


@dataclass(frozen=True)
class MonitorResult:
    """A drift report and the files that it was written to."""

    report: DriftReport
    files: tuple[Path, ...]


def run(
    log: Log,
    reference: Path,
    window: Window,
    params: MonitorParams,
    *,
    folder: Path,
    gauges: Path | None = None,
    store: tracking.Store | None = None,
    registered: str = "",
) -> MonitorResult:
    """Write the drift report of a window as JSON, HTML and trend page, and optionally to Prometheus and MLflow.

    Args:
        log: the prediction log.
        reference: file of the reference profile, which determines the model.
        window: the predictions; without ``since``, ``until`` and ``last`` the most recent ``params.window`` ones.
        params: settings of the test.
        folder: folder of the reports, created if missing.
        gauges: file of gauges for node_exporter.
        store: MLflow store that the report is logged in.
        registered: name of the model in the registry of ``store``.

    Raises:
        MonitoringError: the profile cannot be read, or the window has too few predictions.
        TrackingError: the store refuses the report.
    """
    expected = profile.read(reference)
    last = window.last if window.last or window.since or window.until else params.window
    model = expected["bundle_sha256"].iloc[0]
    observed = drift_report.read_window(log, Window(model, window.since, window.until, last))
    test = detection.detect_drift(expected, observed, params)
    report = drift_report.assemble(test, expected, observed)
    written = [folder / drift_report.FILE, folder / HTML]
    files.write_json(written[0], report)
    drift.write_html(test, expected, observed, written[1], report.summary())
    points = trend.append(report, folder)
    if len(points) >= trend.MINIMUM_REPORTS:
        written.append(folder / trend.PAGE)
        trend.write_page(points, written[-1])
    if gauges:
        drift_report.write_gauges(report, gauges)
    if store:
        mlflow_report.log_report(store, registered, report, written)
    return MonitorResult(report, tuple(written))
