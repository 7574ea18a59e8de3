"""Compare the training speed with a plain Keras script; write the section "Training speed" of benchmarks/RESULTS.md.

    python -m benchmarks.training_speed

Requires ``dvc repro prepare``. Every program runs in its own process, one after the other, from the image files on
disk to a ROC AUC of 0.98 on the same validation images; imports are not counted. Then single training steps are timed,
one change at a time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks import results
from pneumonia.core import paths

TARGET_AUC = 0.98
EPOCHS = 4
RAW, SPLITS = paths.RAW, paths.SPLITS
PLAIN = Path(__file__).with_name("plain_keras.py")
STEPS = 8

VARIANTS = {
    "all layers and batch statistics trained (plain Keras)": {"train_batch_norm": True, "keep_memory": False},
    "batch statistics frozen": {"train_batch_norm": False, "keep_memory": False},
    "same, freed memory kept by the process (pipeline/__init__.py)": {"train_batch_norm": False, "keep_memory": True},
    "same, batches of 64": {"train_batch_norm": False, "keep_memory": True, "batch_size": 64},
    "same, 160 pixels": {"train_batch_norm": False, "keep_memory": True, "size": 160},
    "same, MobileNetV2 (1.0)": {"train_batch_norm": False, "keep_memory": True, "alpha": 1.0},
}
"""Settings of each row of the table of single steps; the default is MobileNetV2 (0.35), 224 pixels, 32 images."""


def main() -> None:
    """Measure all programs and write the tables."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = _class_folders(Path(scratch))
        plain = {how: _run(PLAIN, str(folder), how, str(TARGET_AUC), str(EPOCHS)) for how in ("all", "head")}
    programs = {
        "plain script, every layer trained": plain["all"],
        "plain script, new head on a frozen backbone": plain["head"],
        "this pipeline, `mobilenetv2`": _run("-m", "benchmarks.training_speed", "pipeline", "mobilenetv2"),
        "this pipeline, `probe`": _run("-m", "benchmarks.training_speed", "pipeline", "probe"),
    }
    steps = {name: _run("-m", "benchmarks.training_speed", "step", name)[-1]["rate"] for name in VARIANTS}
    print(results.write("Training speed", _render(programs, steps)))


def _class_folders(scratch: Path) -> Path:
    """Link train and validation images into the folders that ``image_dataset_from_directory`` expects."""
    splits = pd.read_parquet(SPLITS)
    for row in splits[splits["subset"] != "test"].itertuples():
        link = scratch / str(row.subset) / str(row.label) / Path(str(row.path)).name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((RAW / str(row.path)).resolve())
    return scratch


def _run(*command: str | Path) -> list[dict[str, float]]:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _render(programs: dict[str, list[dict[str, float]]], steps: dict[str, float]) -> str:
    reached = _seconds(programs["this pipeline, `mobilenetv2`"])
    lines = [
        "Command: `python -m benchmarks.training_speed`, on two CPU cores; machines differ, so compare the ratios.",
        "",
        f"Time from image files to a validation ROC AUC of {TARGET_AUC}, one program after the other in one run:",
        "",
        "| | seconds | epochs | final AUC | ratio to `mobilenetv2` |",
        "| --- | --- | --- | --- | --- |",
        *(_row(name, points, reached) for name, points in programs.items()),
        "",
        "One training step, forward and backward, one change at a time (MobileNetV2 0.35, 224 pixels, 32 images):",
        "",
        "| | images per second | ratio to the first |",
        "| --- | --- | --- |",
        *(f"| {name} | {rate:.0f} | {rate / next(iter(steps.values())):.2f} |" for name, rate in steps.items()),
    ]
    return "\n".join(lines)


def _row(name: str, points: list[dict[str, float]], reference: float | None) -> str:
    seconds, last = _seconds(points), points[-1]
    if seconds is None or reference is None:
        return f"| {name} | not in {last['seconds']:.0f} | {last['epoch']:.0f} | {last['auc']:.3f} | |"
    return f"| {name} | {seconds:.0f} | {last['epoch']:.0f} | {last['auc']:.3f} | {seconds / reference:.1f} |"


def _seconds(points: list[dict[str, float]]) -> float | None:
    return next((point["seconds"] for point in points if point["auc"] >= TARGET_AUC), None)


class Reached(Exception):
    """Raised to stop a training that has reached the target."""


def train_as_the_pipeline_does(name: str) -> None:
    """Decode the images and train a model of params.yaml until the target; print one line per epoch.

    The AUC is that of the training history, on augmented validation images; it is lower than on unchanged images.
    """
    import numpy as np
    from sklearn.metrics import roc_auc_score

    from pipeline.params import load
    from pipeline.stages.train import labelled
    from pneumonia.arrays import store as images
    from pneumonia.images.decode import decode
    from pneumonia.training import fit, predict, probe
    from pneumonia.training.settings import ProbeParams

    params = load()
    recipe = params.train.models[name]
    splits = pd.read_parquet(SPLITS)
    start = time.perf_counter()

    def report(epoch: int, auc: float) -> None:
        print(json.dumps({"epoch": epoch, "seconds": time.perf_counter() - start, "auc": auc}), flush=True)
        if auc >= TARGET_AUC:
            raise Reached

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seen = splits[splits["subset"] != "test"]
        images.write(
            seen,
            RAW,
            folder,
            decode=decode,
            size=params.prepare.size,
            source="",
            release="",
            workers=os.cpu_count() or 1,
        )
        data = images.read(folder)
        train, validation = labelled(data, "train"), labelled(data, "validation")
        try:
            if isinstance(recipe, ProbeParams):
                model, _ = probe.fit_probe(recipe, train.images, train.targets, params.train.seed)
                logits = predict.logits(model, validation.images, params.evaluate.batch_size)
                report(1, float(roc_auc_score(validation.targets.astype(np.int64), logits)))
            else:
                fit.fit_network(
                    recipe,
                    train,
                    validation,
                    seed=params.train.seed,
                    checkpoint=folder / "state",
                    on_epoch=lambda epoch, values: report(epoch, values["val_auc"]),
                )
        except Reached:
            pass


def time_steps(name: str) -> None:
    """Time the training step of one variant and print its images per second."""
    variant = {"batch_size": 32, "size": 224, "alpha": 0.35} | VARIANTS[name]
    if variant["keep_memory"]:
        import pipeline  # noqa: F401  (the import configures memory allocation)
    import keras
    import numpy as np

    from pneumonia.training import architectures
    from pneumonia.training.settings import FinetuneParams

    batch, size = int(variant["batch_size"]), int(variant["size"])
    params = FinetuneParams(
        kind="finetune",
        backbone="MobileNetV2",
        backbone_options={"alpha": variant["alpha"]},
        weights="random",
        train_batch_norm=True,
        epochs=1,
        batch_size=batch,
        learning_rate=1e-4,
    )
    model = architectures.finetune(params, size)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = variant["train_batch_norm"]
    model.compile(optimizer="adamw", loss=keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (batch, size, size, 1), np.uint8)
    targets = rng.integers(0, 2, (batch, 1)).astype(np.float32)
    for _ in range(3):
        model.train_on_batch(images, targets)
    start = time.perf_counter()
    for _ in range(STEPS):
        model.train_on_batch(images, targets)
    print(json.dumps({"rate": STEPS * batch / (time.perf_counter() - start)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["pipeline"]:
        train_as_the_pipeline_does(sys.argv[2])
    elif sys.argv[1:2] == ["step"]:
        time_steps(sys.argv[2])
    else:
        main()
