"""Stage *register*: the model that validation selects becomes the challenger in the MLflow registry."""

import json
from pathlib import Path

from pipeline import runs, stage
from pneumonia import config, tracking
from pneumonia.errors import TrackingError
from pneumonia.evaluation import selection
from pneumonia.models import bundle as bundles
from pneumonia.registry.registration import register
from pneumonia.registry.versions import CHALLENGER

BUNDLES = Path("artifacts/models")
REPORTS = Path("reports")
METRICS = REPORTS / "metrics.json"
REPORT = REPORTS / "registered.json"
STATE = Path("mlruns/registered.json")
"""Marks that the local store has been told; not in git, so that DVC registers again where the store is empty."""


def main(params: config.Params) -> None:
    """Register the best bundle, and write what was registered and where it is."""
    name, subset, metric = params.register_.name, params.register_.subset, params.register_.metric
    metrics = _read_metrics()
    best = selection.select_best({model: subsets[subset] for model, subsets in metrics.items()}, metric)
    store = tracking.open_store(Path())
    run_ids = {model: _ensure_run(store, model, subsets) for model, subsets in metrics.items()}
    bundle = bundles.read(BUNDLES / best)
    stage.write_json(
        REPORT,
        {
            "name": name,
            "alias": CHALLENGER,
            "model": best,
            "subset": subset,
            "metric": metric,
            subset: metrics[best][subset],
            "source": bundle.card.data.source,
            "data_hash": bundle.card.data.data_hash,
            "bundle_sha256": bundle.card.model_sha256,
        },
        sort_keys=True,
    )
    version = register(store, bundle, run_ids[best], name=name, metrics=metrics[best], reports=REPORTS)
    stage.write_json(STATE, {"name": name, "alias": CHALLENGER, "bundle_sha256": bundle.card.model_sha256})
    print(f"{best} has the best {metric} on {subset} ({metrics[best][subset][metric]:.4f}).")
    print(f"It is version {version} of {name}, alias {CHALLENGER}. To load it:\n")
    print(_how_to_load(store, f"models:/{name}@{CHALLENGER}"))


def _how_to_load(store: tracking.Store, uri: str) -> str:
    lines = ["import mlflow", f'model = mlflow.pyfunc.load_model("{uri}")']
    if store.uri.startswith("sqlite:"):  # the address of a server is the user's own, and may hold a password
        lines.insert(1, f'mlflow.set_tracking_uri("{store.uri}")')
    return "\n".join(f"    {line}" for line in lines)


def _read_metrics() -> dict[str, dict[str, dict[str, float]]]:
    try:
        metrics: dict[str, dict[str, dict[str, float]]] = json.loads(METRICS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrackingError(f"{METRICS} is missing. Run `dvc repro evaluate` to make it.") from None
    return metrics


def _ensure_run(store: tracking.Store, model: str, metrics: dict[str, dict[str, float]]) -> str:
    """Return the run of a model; in a store that does not know it, log training and evaluation again."""
    bundle = bundles.read(BUNDLES / model)
    run_id = runs.ensure(store, bundle)
    if run_id != bundle.card.mlflow_run_id:
        tracking.log_evaluation(store, run_id, metrics)
    return run_id


if __name__ == "__main__":
    stage.run(main)
