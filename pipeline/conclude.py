"""What every training ends with: calibration, operating point and reference from development images, and a bundle.

The first two are chosen on each validation image twice: as it is, and in the shape of the other class's. Where the
shape of the film gives the class away, the former alone would make a network look surer than it is of lungs.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline import facts as header
from pipeline import reference as references
from pneumonia import config
from pneumonia.evaluation import calibration, metrics, operating_point
from pneumonia.images import store as images
from pneumonia.inference import golden, predictor, reference
from pneumonia.labels import CLASS_NAMES
from pneumonia.models import bundle as bundles
from pneumonia.models import fit, soup


def labelled(data: images.ImageStore, subset: str) -> fit.LabelledImages:
    """Return the images of a subset with their targets."""
    rows = data.rows(subset)
    targets = data.index["label"].iloc[rows].map(CLASS_NAMES.index).to_numpy(np.float32)
    return fit.LabelledImages(data.images[rows], targets)


def lineage(data: images.ImageStore) -> bundles.DataLineage:
    """Say which images a model has seen."""
    return bundles.DataLineage(data.source, data.release, data.data_hash, data.counts())


def parameters(params: config.Params, seed: int | list[int], recipe: config.ModelParams) -> bundles.Parameters:
    """Return everything that a training is told, flat."""
    told = {
        "seed": seed,
        "calibration": params.train.calibration,
        **_flatten(params.train.operating_point.model_dump(), "operating_point."),
        "image_size": params.prepare.size,
        **{f"split.{key}": value for key, value in params.split.model_dump().items()},
        **_flatten(recipe.model_dump()),
    }
    return {
        key: value if isinstance(value, str | int | float | bool) else json.dumps(value) for key, value in told.items()
    }


def git_commit() -> str | None:
    """Return the commit of the code, or None outside of git."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return git.stdout.strip() if git.returncode == 0 else None


def conclude(
    folder: Path, model: Any, data: images.ImageStore, params: config.Params, *, compact: bool = False, **card: Any
) -> tuple[bundles.Bundle, dict[str, float]]:
    """Choose calibration, operating point and band on validation, fit the reference, and write the bundle.

    Args:
        folder: of the bundle.
        model: the Keras model; answers logits.
        data: where the development images are.
        params: policies and sizes.
        compact: keep the weights as float16, and choose everything with what is left of them.
        card: what remains of the bundle's card: name, kind, parameters, git_commit, mlflow_run_id.

    Returns:
        The bundle, and the cross-validated log loss of each candidate for the calibration.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, bundles.MODEL_FILE)
        model.save(file)
        if compact:
            soup.halve(file)
            model = keras.saving.load_model(file, compile=False)
        validation = labelled(data, "validation")
        once = validation.targets.astype(int)
        swapped = header.swapped_validation(data, header.of(data))
        both = (predictor.logits(model, seen, params.evaluate.batch_size) for seen in (validation.images, swapped))
        logits, targets = np.concatenate(list(both)), np.tile(once, 2)
        groups = np.tile(data.index["group"].to_numpy()[data.rows("validation")], 2)
        calibrated, losses = calibration.choose(logits, targets, groups, params.train.calibration, params.train.seed)
        scores = calibrated.probabilities(logits)
        policy = params.train.operating_point
        threshold = operating_point.choose(targets, scores, policy.minimum_sensitivity)
        compared = Path(scratch, bundles.REFERENCE_FILE)
        reference.write(references.fit(model, data, scores, targets, groups, params), compared)
        bundle = bundles.write(
            folder,
            file,
            compared,
            image_size=params.prepare.size,
            calibration=calibrated,
            threshold=threshold,
            band=operating_point.choose_band(targets, scores, threshold, policy.band),
            validation=metrics.binary_metrics(once, scores[: len(once)], threshold),
            golden=golden.pin(model, params.prepare.size, calibrated),
            data=lineage(data),
            **card,
        )
    return bundle, losses


def _flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
