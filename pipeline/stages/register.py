"""Stage *register*: bring the MLflow store up to date: a run per model, and the selected model as challenger.

This is the one writer to MLflow. It runs at each `dvc repro`, because DVC cannot see what the store holds; a store
that is up to date gets nothing new, and the empty store of a fresh clone gets everything.
"""

from pathlib import Path

from pipeline import stage
from pipeline.params import Params
from pneumonia.bundle import bundle as bundles
from pneumonia.core import files, paths
from pneumonia.evaluation.comparison_report import ComparisonReport
from pneumonia.evaluation.evaluation_report import MetricsReport
from pneumonia.registry import registration, tracking
from pneumonia.registry.registration_report import Registration
from pneumonia.registry.tracking import RunRecord
from pneumonia.registry.versions import CHALLENGER


def main(params: Params) -> None:
    """Record the runs of all models, and register the selected one."""
    comparison = files.read_json(paths.COMPARISON, ComparisonReport)
    records = {model: record(model) for model in params.train.models}
    best = comparison.reference
    card = records[best].bundle.card
    name, subset, metric = params.register_.name, params.register_.subset, params.register_.metric
    report = Registration(
        name=name,
        alias=CHALLENGER,
        model=best,
        subset=subset,
        metric=metric,
        metrics=dict(records[best].metrics[subset]),
        source=card.data.source,
        data_hash=card.data.data_hash,
        bundle_sha256=card.sha256,
    )
    files.write_json(paths.REGISTRATION, report)
    store = tracking.open_store(Path())
    run_ids = {model: tracking.record(store, record) for model, record in records.items()}
    version = registration.register(
        store,
        records[best].bundle,
        run_ids[best],
        name=name,
        metrics=records[best].metrics,
        reports=paths.REPORTS,
    )
    print(f"{best} has the best {metric} on {subset} images ({report.metrics[metric]:.4f}).")
    print(f"It is version {version} of {name}, alias {CHALLENGER}. To load it:\n")
    print(_loading_code(store, f"models:/{name}@{CHALLENGER}"))


def record(model: str) -> RunRecord:
    """Collect what the stages have written about a model."""
    training = paths.TRAINING_REPORTS / model
    evaluation = [
        paths.EVALUATION_REPORTS / f"{model}.json",
        paths.PREDICTIONS / f"{model}.csv",
        paths.MODEL_AUDITS / f"{model}.json",
        paths.COMPARISON,
        *sorted(paths.MODEL_FIGURES.glob("*.png")),
    ]
    return RunRecord(
        bundles.read(paths.BUNDLES / model),
        history=training / "history.csv",
        metrics=files.read_json(paths.METRICS / f"{model}.json", MetricsReport).root,
        files={
            "train": [training / "history.csv", paths.CALIBRATION_REPORTS / f"{model}.json"],
            "evaluation": evaluation,
            "explanations": sorted((paths.EXPLANATIONS / model).iterdir()),
            "profile": [paths.PROFILES / f"{model}.parquet"],
        },
    )


def _loading_code(store: tracking.Store, uri: str) -> str:
    lines = ["import mlflow", f'model = mlflow.pyfunc.load_model("{uri}")']
    if store.uri.startswith("sqlite:"):  # the address of a server may hold a password
        lines.insert(1, f'mlflow.set_tracking_uri("{store.uri}")')
    return "\n".join(f"    {line}" for line in lines)


if __name__ == "__main__":
    stage.run(main)
