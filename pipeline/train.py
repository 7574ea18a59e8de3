"""Stage *train*: one model of ``train.models``, named on the command line, becomes a bundle and an MLflow run."""

import functools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import runs, stage
from pneumonia import config, tracking
from pneumonia.errors import ConfigError
from pneumonia.evaluation import calibration, figures, metrics, operating_point
from pneumonia.images import store as images
from pneumonia.inference import predictor
from pneumonia.labels import CLASS_NAMES
from pneumonia.models import bundle as bundles
from pneumonia.models import fit, probe
from pneumonia.models.calibration import Calibration

IMAGES = Path("artifacts/images")
BUNDLES = Path("artifacts/models")
CHECKPOINTS = Path("artifacts/checkpoints")
"""State between epochs, to go on after a kill; gone when training has ended."""


def main(params: config.Params, name: str) -> None:
    """Train a model, calibrate it and choose its operating point on validation, write bundle and learning curves."""
    model_params = _model_params(params, name)
    data = images.read(IMAGES)
    train, validation = _labelled(data, "train"), _labelled(data, "validation")
    lineage = bundles.DataLineage(data.source, data.release, data.data_hash, data.counts())
    description = tracking.RunDescription(
        name, model_params.kind, lineage, _flat_parameters(params, model_params), _git_commit()
    )
    checkpoint = CHECKPOINTS / name
    store = tracking.open_store(Path())
    with tracking.start_run(store, description, _interrupted_run(checkpoint)) as run:
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "run_id").write_text(run.run_id)
        model, history = _fit(model_params, train, validation, params.train.seed, checkpoint / "state", run)
        logits = predictor.logits(model, validation.images, params.evaluate.batch_size)
        targets = validation.targets.astype(int)
        groups = data.index["group"].to_numpy()[data.rows("validation")]
        calibrated, losses = calibration.choose(logits, targets, groups, params.train.calibration, params.train.seed)
        run.log_metrics({f"calibration/{method}/loss": loss for method, loss in losses.items()})
        scores = calibrated.probabilities(logits)
        policy = params.train.operating_point
        threshold = operating_point.choose(targets, scores, policy.minimum_sensitivity)
        bundle = _write_bundle(
            BUNDLES / name,
            model,
            name=name,
            kind=model_params.kind,
            image_size=params.prepare.size,
            calibration=calibrated,
            threshold=threshold,
            band=operating_point.choose_band(targets, scores, threshold, policy.band),
            validation=metrics.binary_metrics(targets, scores, threshold),
            data=lineage,
            parameters=dict(description.parameters),
            git_commit=description.git_commit,
            mlflow_run_id=run.run_id,
        )
        run.log_files(_write_reports(runs.TRAIN_REPORTS / name, history, name), "train")
        run.log_bundle(bundle)
    shutil.rmtree(checkpoint)
    print(f"calibration {calibrated.method}; log loss by cross-validation: {_listed(losses)}")
    figures_of_note = ("roc_auc", "sensitivity", "specificity")
    print(f"{name} on validation: {_listed({f: bundle.card.validation[f] for f in figures_of_note})}")


def _model_params(params: config.Params, name: str) -> config.ModelParams:
    if name not in params.train.models:
        raise ConfigError(f"params.yaml has no train.models.{name}. It has {', '.join(params.train.models)}.")
    return params.train.models[name]


def _fit(
    params: config.ModelParams,
    train: fit.LabelledImages,
    validation: fit.LabelledImages,
    seed: int,
    state: Path,
    run: tracking.Run,
) -> tuple[Any, pd.DataFrame]:
    if not isinstance(params, config.ProbeParams):
        return fit.fit_network(
            params,
            train,
            validation,
            seed=seed,
            checkpoint=state,
            on_epoch=lambda epoch, values: run.log_metrics(values, epoch),
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


def _labelled(data: images.ImageStore, subset: str) -> fit.LabelledImages:
    rows = data.rows(subset)
    targets = data.index["label"].iloc[rows].map(CLASS_NAMES.index).to_numpy(np.float32)
    return fit.LabelledImages(data.images[rows], targets)


def _flat_parameters(params: config.Params, model_params: config.ModelParams) -> dict[str, str | int | float | bool]:
    told = {
        "seed": params.train.seed,
        "calibration": params.train.calibration,
        **_flatten(params.train.operating_point.model_dump(), "operating_point."),
        "image_size": params.prepare.size,
        **{f"split.{key}": value for key, value in params.split.model_dump().items()},
        **_flatten(model_params.model_dump()),
    }
    return {
        key: value if isinstance(value, str | int | float | bool) else json.dumps(value) for key, value in told.items()
    }


def _flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _listed(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())


def _git_commit() -> str | None:
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return git.stdout.strip() if git.returncode == 0 else None


def _interrupted_run(checkpoint: Path) -> str | None:
    file = checkpoint / "run_id"
    return file.read_text() if file.exists() else None


def _write_bundle(folder: Path, model: Any, **card: Any) -> bundles.Bundle:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, bundles.MODEL_FILE)
        model.save(file)
        return bundles.write(folder, file, **card)


def _write_reports(folder: Path, history: pd.DataFrame, name: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    history.round(6).to_csv(folder / runs.HISTORY, index=False)
    figures.save(figures.learning_curves(history, name), folder / runs.CURVES)
    return [folder / runs.HISTORY, folder / runs.CURVES]


if __name__ == "__main__":
    stage.run(functools.partial(main, name=sys.argv[1]))
