"""Stage *train*: fit one network of ``train.models``, and write its weights and history."""

import shutil
from pathlib import Path

import numpy as np

from pipeline import live_curves, stage
from pipeline.params import Params
from pneumonia.arrays import store
from pneumonia.arrays.store import ImageStore
from pneumonia.core import files, paths, settings
from pneumonia.training import network_file, training
from pneumonia.training.fit import LabelledImages
from pneumonia.training.workers import ALONE, Workers


def main(params: Params, name: str, workers: Workers = ALONE) -> None:
    """Train a model, and write its network and history.

    Args:
        params: params.yaml.
        name: of the model in ``train.models``.
        workers: the processes that train together; this is what the leading one does.
    """
    recipe = params.train.models[name]
    data = store.read(paths.IMAGES)
    checkpoint = paths.CHECKPOINTS / name
    parameters = {
        "seed": params.train.seed,
        "image_size": data.images.shape[1],
        **settings.flatten(recipe.model_dump()),
    }
    with live_curves.follow(name, recipe.kind, data, parameters, checkpoint / "run_id") as curves:
        network, history = training.train(
            recipe,
            labelled(data, "train"),
            labelled(data, "validation"),
            seed=params.train.seed,
            checkpoint=state(name),
            on_epoch=curves.log,
            workers=workers,
        )
        file = paths.NETWORKS / name / "model.keras"
        network_file.save(network, file)
        curves.finish(files.sha256(file))
    files.write_csv(paths.TRAINING_REPORTS / name / "history.csv", history.round(6))
    shutil.rmtree(checkpoint, ignore_errors=True)


def labelled(data: ImageStore, subset: str) -> LabelledImages:
    """Return the images of a subset with their targets."""
    rows = data.rows(subset)
    return LabelledImages(data.images[rows], data.targets(subset).astype(np.float32))


def state(name: str) -> Path:
    """Return the folder of a model's state between epochs; it is gone when the training has ended."""
    return paths.CHECKPOINTS / name / "state"


if __name__ == "__main__":
    stage.run_for_model(main)
