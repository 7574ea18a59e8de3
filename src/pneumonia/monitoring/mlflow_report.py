"""Drift reports in MLflow: one run per report, which the model version links to by a tag."""

from collections.abc import Iterable
from pathlib import Path

from pneumonia.monitoring.drift_report import DriftReport
from pneumonia.registry import address as store_address
from pneumonia.registry import tracking

EXPERIMENT = "pneumonia-monitoring"
"""Separate from the training runs, which are found by their tags."""


@tracking.explain_refusals()
def log_report(store: tracking.Store, name: str, report: DriftReport, files: Iterable[Path]) -> str:
    """Log a drift report and its files as an MLflow run.

    Args:
        store: the store with the model.
        name: name of the model in the registry; its version gets the tags ``monitor_run`` and ``monitor_alert``.
        report: the report.
        files: artifacts of the run.

    Returns:
        The id of the run.

    Raises:
        TrackingError: the store refuses the run.
    """
    version = None if report.version is None else str(report.version)
    tags = {
        "model": report.model,
        "monitored_bundle": report.bundle_sha256,
        "alert": str(report.alert).lower(),
        "changed": ", ".join(report.changed),
        "last": report.last.isoformat(),
    }
    if version:
        tags |= {"registered_model": name, "version": version}
    title = f"{report.model} until {report.last.isoformat()}"
    info = store.client.create_run(_experiment(store), tags=tags, run_name=title).info
    run = tracking.Run(store, info.run_id)
    run.log_metrics(_metrics(report))
    run.log_files(files, "report")
    store.client.set_terminated(info.run_id)
    if version:
        store.client.set_model_version_tag(name, version, "monitor_run", info.run_id)
        store.client.set_model_version_tag(name, version, "monitor_alert", tags["alert"])
    return str(info.run_id)


def _experiment(store: tracking.Store) -> str:
    experiment = store.client.get_experiment_by_name(EXPERIMENT)
    if experiment:
        return str(experiment.experiment_id)
    database = store_address.database(store.uri)
    artifacts = (database.parent / "artifacts").as_uri() if database else None
    return str(store.client.create_experiment(EXPERIMENT, artifacts))


def _metrics(report: DriftReport) -> dict[str, float]:
    metrics = {"alert": float(report.alert), "images": float(report.images)}
    metrics |= {f"rate/{name}": share for name, share in report.window.rates if share is not None}
    for column in report.columns:
        metrics[f"p_value/{column.column}"] = column.p_value
        metrics[f"distance/{column.column}"] = column.distance
    return metrics
