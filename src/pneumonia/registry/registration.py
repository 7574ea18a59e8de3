"""Register a bundle as a version of the registered model, and make it the challenger."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pneumonia.bundle.bundle import Bundle
from pneumonia.evaluation.selection import Metrics
from pneumonia.registry import description, logged_model
from pneumonia.registry.promotion_evidence import Evidence, evidence_files
from pneumonia.registry.tracking import BUNDLE_SHA256, RunDescription, Store, explain_refusals
from pneumonia.registry.versions import CHALLENGER, EVIDENCE


@explain_refusals()
def register(
    store: Store, bundle: Bundle, run_id: str, *, name: str, metrics: Mapping[str, Metrics], reports: Path
) -> int:
    """Make a bundle the challenger: a version of the registered model with its lineage, figures and evidence.

    A bundle that is registered already keeps its version; figures, evidence and alias are brought up to date. The
    alias moves only after the version has answered an example.

    Args:
        store: the MLflow store.
        bundle: the trained model.
        run_id: its run in the store, as `tracking.ensure_run` gives it.
        name: of the registered model.
        metrics: per subset (``validation``, ``test``) its figures.
        reports: folder with what the gate will read (`promotion_evidence.evidence_files`).

    Returns:
        The version, to be loaded as ``models:/<name>/<version>`` or, while it is the latest, as
        ``models:/<name>@challenger``.

    Raises:
        EvidenceError: the reports are not of this bundle.
        TrackingError: the store refuses, or the logged model cannot answer.
    """
    evidence = Evidence.read(reports)
    commit = store.client.get_run(run_id).data.tags.get("git_commit")
    tags = _tags(bundle, commit, metrics, evidence)
    version = _find_version(store, name, tags) or _create_version(store, name, bundle, run_id, tags)
    for key, value in tags.items():
        store.client.set_model_version_tag(name, version, key, value)
    for file in evidence_files(evidence.model):
        folder = (Path(EVIDENCE) / file).parent
        store.client.log_artifact(run_id, str(reports / file), str(folder))
    old = store.client.get_model_version(name, version).description or ""
    text = description.replace_model(old, description.describe_model(bundle, metrics, commit))
    store.client.update_model_version(name, version, text)
    store.client.set_registered_model_alias(name, CHALLENGER, version)
    return int(version)


def _find_version(store: Store, name: str, tags: Mapping[str, str]) -> str | None:
    same = f"name = '{name}' and tag.{BUNDLE_SHA256} = '{tags[BUNDLE_SHA256]}'"
    registered = store.client.search_model_versions(same, order_by=["version_number DESC"])
    return str(registered[0].version) if registered else None


def _create_version(store: Store, name: str, bundle: Bundle, run_id: str, tags: dict[str, str]) -> str:
    if not store.client.search_registered_models(f"name = '{name}'"):
        store.client.create_registered_model(name, description="Pneumonia on chest radiographs of children.")
    model_id = logged_model.log(store, bundle, run_id)
    with _as_current_store(store):
        version = store.client.create_model_version(
            name, source=f"models:/{model_id}", run_id=run_id, tags=tags, model_id=model_id
        )
    return str(version.version)


@contextmanager
def _as_current_store(store: Store) -> Iterator[None]:
    """Temporarily make a store the process's current one: MLflow's SQL registry looks ``models:/`` up there."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(store.uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None resets it


def _tags(bundle: Bundle, commit: str | None, metrics: Mapping[str, Metrics], evidence: Evidence) -> dict[str, str]:
    figures = {
        f"{subset}/{metric}": f"{value:.4f}" for subset, values in metrics.items() for metric, value in values.items()
    }
    return {
        **replace(RunDescription.of(bundle), git_commit=commit).tags(),
        **figures,
        "audit": evidence.model_audit.verdict.value,
        "data_alarm": str(evidence.data_audit.alarm).lower(),
        BUNDLE_SHA256: bundle.card.sha256,
    }
