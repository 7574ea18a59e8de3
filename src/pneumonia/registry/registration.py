"""How a bundle becomes a version of the registered model, and the challenger."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pneumonia.evaluation import gate
from pneumonia.evaluation.selection import Metrics
from pneumonia.models.bundle import CARD_FILE, Bundle
from pneumonia.registry import description, logged_model
from pneumonia.registry.versions import CARD_SHA256, CHALLENGER, EVIDENCE
from pneumonia.tracking import BUNDLE_SHA256, RunDescription, Store, explain_refusals


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
        reports: folder with what the gate will read (`gate.files`).

    Returns:
        The version, to be loaded as ``models:/<name>/<version>`` or, while it is the latest, as
        ``models:/<name>@challenger``.

    Raises:
        EvidenceError: the reports do not judge this bundle.
        TrackingError: the store refuses, or the logged model cannot answer.
    """
    evidence = gate.Evidence.read(reports)
    tags = _tags(bundle, metrics, evidence)
    version = _find_version(store, name, tags) or _create_version(store, name, bundle, run_id, tags)
    for key, value in tags.items():
        store.client.set_model_version_tag(name, version, key, value)
    for file in gate.files(evidence.model):
        folder = (Path(EVIDENCE) / file).parent
        store.client.log_artifact(run_id, str(reports / file), str(folder))
    known = store.client.get_model_version(name, version).description or ""
    text = description.with_facts(known, description.facts(bundle, metrics))
    store.client.update_model_version(name, version, text)
    store.client.set_registered_model_alias(name, CHALLENGER, version)
    return int(version)


def _find_version(store: Store, name: str, tags: Mapping[str, str]) -> str | None:
    same = " and ".join(f"tag.{key} = '{tags[key]}'" for key in (BUNDLE_SHA256, CARD_SHA256))
    registered = store.client.search_model_versions(f"name = '{name}' and {same}", order_by=["version_number DESC"])
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
    """Make a store the process's current one for a while: MLflow's SQL registry looks ``models:/`` up there."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(store.uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None takes it back


def _tags(bundle: Bundle, metrics: Mapping[str, Metrics], evidence: gate.Evidence) -> dict[str, str]:
    figures = {
        f"{subset}/{metric}": f"{value:.4f}" for subset, values in metrics.items() for metric, value in values.items()
    }
    audited = evidence.audit
    return {
        **RunDescription.of(bundle).tags(),
        **figures,
        "audit": audited["models"][evidence.model]["verdict"],
        "data_alarm": str(audited["data"]["alarm"]).lower(),
        BUNDLE_SHA256: bundle.card.model_sha256,
        CARD_SHA256: hashlib.sha256((bundle.folder / CARD_FILE).read_bytes()).hexdigest(),
    }
