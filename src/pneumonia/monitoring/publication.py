"""A report in MLflow: a run of its own, which the model version that it is about points to."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pneumonia import store_address, tracking

EXPERIMENT = "pneumonia-monitoring"
"""Apart from the runs of training, which are found by what they are tagged with."""


@tracking.explain_refusals()
def publish(store: tracking.Store, name: str, report: Mapping[str, Any], files: Iterable[Path]) -> str:
    """Log a report and its files as a run, and return its id.

    Args:
        store: where the model was logged.
        name: of the model in the registry; a version of it is tagged ``monitor_run`` and ``monitor_alert``.
        report: see `report.assemble`.
        files: to keep with it.

    Raises:
        TrackingError: the store refuses.
    """
    version = None if report["version"] is None else str(report["version"])
    tags = {
        "model": report["model"],
        "monitored_bundle": report["bundle_sha256"],
        "alert": str(report["alert"]).lower(),
        "changed": ", ".join(report["changed"]),
        "last": report["last"],
    }
    title = f"{report['model']} until {report['last']}"
    if version:
        tags |= {"registered_model": name, "version": version}
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
    known = store.client.get_experiment_by_name(EXPERIMENT)
    if known:
        return str(known.experiment_id)
    database = store_address.database(store.uri)
    artifacts = (database.parent / "artifacts").as_uri() if database else None
    return str(store.client.create_experiment(EXPERIMENT, artifacts))


def _metrics(report: Mapping[str, Any]) -> dict[str, float]:
    figures = {"alert": float(report["alert"]), "images": float(report["images"])}
    figures |= {f"rate/{key}": value for key, value in report["window"]["rates"].items() if value is not None}
    for column in report["columns"]:
        figures[f"p_value/{column['column']}"] = column["p_value"]
        figures[f"distance/{column['column']}"] = column["distance"]
    return figures
