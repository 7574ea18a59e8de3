"""Measure the effect of each part of the training recipe on validation; write docs/ablation.json and docs/ablation.md.

    python -m benchmarks.ablation

Requires ``dvc repro prepare``; images of the official test set are not used. Every row trains the backbone of
``mobilenetv2`` from the same initial weights for the same few epochs on small images, which takes minutes: rows can be
compared with each other, but not with the models of the pipeline. Rows that the JSON file already has are kept.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import roc_auc_score

from pipeline.params import Params, load
from pipeline.stages.train import labelled
from pneumonia.arrays import store as images
from pneumonia.bundle.calibration import Calibration
from pneumonia.core import paths
from pneumonia.evaluation import aspect_swapped, metrics
from pneumonia.training import fit, predict
from pneumonia.training.settings import FinetuneParams

TABLE, PAGE = Path("docs/ablation.json"), Path("docs/ablation.md")
SHORT = {"train_size": 128, "epochs": 4}
SEED = 1
BATCH = 64

ROWS: dict[str, dict[str, Any]] = {
    "random grey levels, sharpness, flips and rotation": {"warm_start": False, "augment": {"crop": 0.0}},
    "+ crops of random height and width": {"warm_start": False, "augment": {"crop": 0.4}},
    "+ head initialised by logistic regression": {"warm_start": True, "augment": {"crop": 0.4}},
    "+ larger crops, stronger grey-level changes, histogram equalisation": {
        "warm_start": True,
        "augment": {
            "crop": 0.45,
            "brightness": 0.12,
            "contrast": 0.35,
            "gamma": 0.5,
            "sharpness": 1.2,
            "equalize": 0.2,
        },
    },
}
"""Changes of the recipe by row; each row adds one change to the row above it."""


def main() -> None:
    """Train the missing rows one after the other; write the table after each of them."""
    params = load()
    data = images.read(paths.IMAGES)
    rows: dict[str, dict[str, float]] = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for name, changes in ROWS.items():
        if name not in rows:
            rows[name] = _measure(params, data, changes)
            TABLE.parent.mkdir(exist_ok=True)
            TABLE.write_text(json.dumps(rows, indent=2) + "\n")
    PAGE.write_text(_render(rows))
    print(PAGE.read_text())


def _measure(params: Params, data: images.ImageStore, changes: dict[str, Any]) -> dict[str, float]:
    recipe = FinetuneParams.model_validate(params.train.models["mobilenetv2"].model_dump() | SHORT | changes)
    train, validation = labelled(data, "train"), labelled(data, "validation")
    with tempfile.TemporaryDirectory() as scratch:
        model, _ = fit.fit_network(
            recipe,
            train,
            validation,
            seed=SEED,
            checkpoint=Path(scratch, "state"),
            on_epoch=lambda epoch, values: None,
        )
    targets = validation.targets.astype(int)
    swapped = aspect_swapped.validation(data, pd.read_parquet(paths.HEADER_METADATA))
    logits = predict.logits(model, validation.images, BATCH)
    figures = metrics.binary_metrics(targets, Calibration().probabilities(logits), 0.5)
    return {
        "validation AUC": float(roc_auc_score(targets, logits)),
        "aspect-swapped AUC": float(roc_auc_score(targets, predict.logits(model, swapped, BATCH))),
        "validation loss": figures["loss"],
    }


def _render(rows: dict[str, dict[str, float]]) -> str:
    table = pd.DataFrame(rows).T.map("{:.4f}".format)
    lines = ["| recipe | " + " | ".join(table.columns) + " |", "|---|" + "---|" * len(table.columns)]
    lines += [f"| {name} | " + " | ".join(row) + " |" for name, row in zip(table.index, table.to_numpy(), strict=True)]
    return INTRODUCTION + "\n" + "\n".join(lines) + "\n"


INTRODUCTION = f"""# Effect of each part of the training recipe

Command: `python -m benchmarks.ablation` (writes this page and ablation.json). MobileNetV2 (0.35),
{SHORT["epochs"]} epochs on {SHORT["train_size"]} pixels, one seed; patient-grouped validation, no image of the
official test set. *Aspect-swapped* are the validation images again, each class cropped to the aspect ratio typical of
the other class: a network that relies on the image shape has a lower AUC there. Each row adds one change to the row
above it. One seed gives no interval: do not interpret differences in the third decimal.
"""


if __name__ == "__main__":
    main()
