"""What each part of the training recipe gives, on validation; writes docs/ablation.json and docs/ablation.md.

    python -m benchmarks.ablation

Needs ``dvc repro prepare`` to have been run; the images of the official test set are not touched. Every row trains the
backbone of ``mobilenetv2`` from the same start for the same few epochs on small images, so that the whole takes
minutes: the rows compare with each other, not with the models of the pipeline. Rows that are in the JSON already are
kept.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import roc_auc_score

from pipeline import conclude
from pipeline import facts as header
from pneumonia import config
from pneumonia.evaluation import metrics
from pneumonia.images import store as images
from pneumonia.inference import predictor
from pneumonia.models import fit
from pneumonia.models.calibration import Calibration

TABLE, PAGE = Path("docs/ablation.json"), Path("docs/ablation.md")
SHORT = {"train_size": 128, "epochs": 4}
SEED = 1
BATCH = 64

ROWS: dict[str, dict[str, Any]] = {
    "grey levels and sharpness vary, flips, rotation": {"warm_start": False, "augment": {"crop": 0.0}},
    "and windows of their own height and width": {"warm_start": False, "augment": {"crop": 0.4}},
    "and a head that starts as a logistic regression": {"warm_start": True, "augment": {"crop": 0.4}},
    "and larger windows, stronger grey levels, flattened histograms": {
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
"""Each row adds one thing to the row above it."""


def main() -> None:
    """Train the rows that are missing, one after the other, and write the table after each."""
    params = config.load(Path("params.yaml"))
    data = images.read(Path("artifacts/images"))
    rows: dict[str, dict[str, float]] = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for name, changes in ROWS.items():
        if name not in rows:
            rows[name] = _measure(params, data, changes)
            TABLE.parent.mkdir(exist_ok=True)
            TABLE.write_text(json.dumps(rows, indent=2) + "\n")
    PAGE.write_text(_render(rows))
    print(PAGE.read_text())


def _measure(params: config.Params, data: images.ImageStore, changes: dict[str, Any]) -> dict[str, float]:
    recipe = config.FinetuneParams.model_validate(params.train.models["mobilenetv2"].model_dump() | SHORT | changes)
    train, validation = conclude.labelled(data, "train"), conclude.labelled(data, "validation")
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
    swapped = header.swapped_validation(data, header.of(data))
    answered = predictor.logits(model, validation.images, BATCH)
    figures = metrics.binary_metrics(targets, Calibration().probabilities(answered), 0.5)
    return {
        "validation AUC": float(roc_auc_score(targets, answered)),
        "swapped AUC": float(roc_auc_score(targets, predictor.logits(model, swapped, BATCH))),
        "validation loss": figures["loss"],
    }


def _render(rows: dict[str, dict[str, float]]) -> str:
    table = pd.DataFrame(rows).T.map("{:.4f}".format)
    lines = ["| recipe | " + " | ".join(table.columns) + " |", "|---|" + "---|" * len(table.columns)]
    lines += [f"| {name} | " + " | ".join(row) + " |" for name, row in zip(table.index, table.to_numpy(), strict=True)]
    return INTRODUCTION + "\n" + "\n".join(lines) + "\n"


INTRODUCTION = f"""# What each part of the training recipe gives

Command: `python -m benchmarks.ablation` (writes this page and ablation.json). MobileNetV2 (0.35),
{SHORT["epochs"]} epochs on {SHORT["train_size"]} pixels, one seed; patient-grouped validation, no image of the
official test set. *Swapped* are the validation images with those of each class cut to the shape that is typical of the
other class: who reads the shape of the film falls there, who reads the lungs does not. Each row adds one thing to the
row above it.
"""


if __name__ == "__main__":
    main()
