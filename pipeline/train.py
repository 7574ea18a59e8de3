"""Stage *train*: one model of ``train.models``, named on the command line, becomes a bundle and an MLflow run."""

import functools
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import conclude, runs, stage
from pneumonia import config, tracking
from pneumonia.errors import ConfigError
from pneumonia.evaluation import figures, metrics
from pneumonia.images import store as images
from pneumonia.inference import predictor
from pneumonia.models import fit, probe
from pneumonia.models.calibration import Calibration
from pneumonia.models.workers import ALONE, Workers

IMAGES = Path("artifacts/images")
BUNDLES = Path("artifacts/models")
CHECKPOINTS = Path("artifacts/checkpoints")
"""State between epochs, to go on after a kill; gone when training has ended."""


def main(params: config.Params, name: str, workers: Workers = ALONE) -> None:
    """Train a model, calibrate it and choose its operating point on validation, write bundle and learning curves.

    With others, this is what the leading one of the ``workers`` does (`pipeline.train_distributed`).
    """
    model_params = recipe(params, name)
    data = images.read(IMAGES)
    train, validation = conclude.labelled(data, "train"), conclude.labelled(data, "validation")
    description = tracking.RunDescription(
        name,
        model_params.kind,
        conclude.lineage(data),
        conclude.parameters(params, params.train.seed, model_params),
        conclude.git_commit(),
    )
    checkpoint = CHECKPOINTS / name
    store = tracking.open_store(Path())
    with tracking.start_run(store, description, _interrupted_run(checkpoint)) as run:
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "run_id").write_text(run.run_id)
        model, history = _fit(model_params, train, validation, params.train.seed, state(name), run, workers)
        bundle, losses = conclude.conclude(
            BUNDLES / name,
            model,
            data,
            params,
            name=name,
            kind=model_params.kind,
            parameters=dict(description.parameters),
            git_commit=description.git_commit,
            mlflow_run_id=run.run_id,
        )
        run.log_metrics({f"calibration/{method}/loss": loss for method, loss in losses.items()})
        run.log_files(_write_reports(runs.TRAIN_REPORTS / name, history, name), "train")
        run.log_bundle(bundle)
    shutil.rmtree(checkpoint)
    print(f"calibration {bundle.card.calibration.method}; log loss by cross-validation: {_listed(losses)}")
    figures_of_note = ("roc_auc", "sensitivity", "specificity")
    print(f"{name} on validation: {_listed({f: bundle.card.validation[f] for f in figures_of_note})}")


def recipe(params: config.Params, name: str) -> config.ModelParams:
    """Return what params.yaml says of a model.

    Raises:
        ConfigError: it says nothing of it.
    """
    if name not in params.train.models:
        raise ConfigError(f"params.yaml has no train.models.{name}. It has {', '.join(params.train.models)}.")
    return params.train.models[name]


def state(name: str) -> Path:
    """Return the folder of a model's state between epochs."""
    return CHECKPOINTS / name / "state"


def _fit(
    params: config.ModelParams,
    train: fit.LabelledImages,
    validation: fit.LabelledImages,
    seed: int,
    checkpoint: Path,
    run: tracking.Run,
    workers: Workers,
) -> tuple[Any, pd.DataFrame]:
    if not isinstance(params, config.ProbeParams):
        return fit.fit_network(
            params,
            train,
            validation,
            seed=seed,
            checkpoint=checkpoint,
            on_epoch=lambda epoch, values: run.log_metrics(values, epoch),
            workers=workers,
        )
    model, learnt = probe.fit_probe(params, train.images, train.targets, seed)
    checked = Calibration().probabilities(predictor.logits(model, validation.images, params.batch_size))
    row = _loss_and_accuracy(train, learnt) | {
        f"val_{key}": value for key, value in _loss_and_accuracy(validation, checked).items()
    }
    run.log_metrics(row, 1)
    return model, pd.DataFrame([{"epoch": 1} | row])


def _loss_and_accuracy(subset: fit.LabelledImages, scores: np.ndarray) -> dict[str, float]:
    values = metrics.binary_metrics(subset.targets.astype(int), scores, threshold=0.5)
    return {"loss": values["loss"], "accuracy": values["accuracy"], "auc": values["roc_auc"]}


def _listed(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())


def _interrupted_run(checkpoint: Path) -> str | None:
    file = checkpoint / "run_id"
    return file.read_text() if file.exists() else None


def _write_reports(folder: Path, history: pd.DataFrame, name: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    history.round(6).to_csv(folder / runs.HISTORY, index=False)
    figures.save(figures.learning_curves(history, name), folder / runs.CURVES)
    return [folder / runs.HISTORY, folder / runs.CURVES]


if __name__ == "__main__":
    stage.run(functools.partial(main, name=sys.argv[1]))
