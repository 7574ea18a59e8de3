import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import pipeline
from pneumonia.core.errors import TrainingError
from pneumonia.training import architectures, network_file
from pneumonia.training import fit as fit_module
from pneumonia.training.fit import LabelledImages, fit_network
from pneumonia.training.settings import AugmentParams, CnnParams, FinetuneParams

SEED = 3
UNCHANGED = AugmentParams(
    flip=False, rotate_degrees=0, crop=0, brightness=0, contrast=0, gamma=0, sharpness=0, equalize=0
)
PARAMS = CnnParams(kind="cnn", filters=[4, 8], epochs=4, batch_size=8, learning_rate=0.01)


def toy(count: int, seed: int) -> LabelledImages:
    """Noise; the positives have a brighter half."""
    rng = np.random.default_rng(seed)
    targets = (np.arange(count) % 2).astype(np.float32)
    images = rng.integers(0, 180, (count, 32, 32), dtype=np.uint8)
    images[targets == 1, 16:] += 70
    return LabelledImages(images, targets)


def fit(
    checkpoint: Path,
    *,
    params: CnnParams = PARAMS,
    train: LabelledImages | None = None,
    validation: LabelledImages | None = None,
    seed: int = SEED,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, metrics: None,
) -> tuple[keras.Model, pd.DataFrame]:
    return fit_network(
        params,
        train or toy(28, seed=0),
        validation or toy(12, seed=1),
        seed=seed,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )


@dataclass(frozen=True)
class Result:
    """Weights, bytes of the network file, history and checkpoint of a training."""

    weights: list[NDArray[np.float32]]
    sha256: str
    history: pd.DataFrame
    checkpoint: Path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The uninterrupted training that resumed ones must equal."""
    checkpoint = tmp_path_factory.mktemp("uninterrupted") / "state"
    return result(*fit(checkpoint), checkpoint)


def result(model: keras.Model, history: pd.DataFrame, checkpoint: Path) -> Result:
    return Result(model.get_weights(), sha256(model), history, checkpoint)


def sha256(model: keras.Model) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        return network_file.save(model, Path(scratch, "model.keras"))


def assert_same(model: keras.Model, history: pd.DataFrame, expected: Result) -> None:
    pd.testing.assert_frame_equal(history, expected.history, check_exact=True)
    for weights, expected_weights in zip(model.get_weights(), expected.weights, strict=True):
        np.testing.assert_array_equal(weights, expected_weights)
    assert sha256(model) == expected.sha256


class Stop(Exception):
    """Ends a training from its `on_epoch`."""


def stop_after(last: int) -> Callable[[int, dict[str, float]], None]:
    def stop(epoch: int, metrics: dict[str, float]) -> None:
        if epoch == last:
            raise Stop(epoch)

    return stop


def test_history_has_every_epoch(uninterrupted: Result) -> None:
    history = uninterrupted.history

    assert list(history["epoch"]) == [1, 2, 3, 4]
    assert set(history.columns) == {
        "epoch",
        "loss",
        "accuracy",
        "auc",
        "val_loss",
        "val_accuracy",
        "val_auc",
        "learning_rate",
    }
    assert np.isfinite(history.to_numpy()).all()
    assert history["learning_rate"].iloc[-1] == pytest.approx(0, abs=1e-6)
    assert history["learning_rate"].max() <= PARAMS.learning_rate * 1.001


def test_training_reduces_the_loss(uninterrupted: Result) -> None:
    history = uninterrupted.history

    assert history["val_auc"].max() > 0.9
    assert history["val_loss"].min() < history["val_loss"].iloc[0]


def test_killed_training_resumes_with_the_same_result(uninterrupted: Result, tmp_path: Path) -> None:
    """Killed in its third epoch: two epochs are saved, and two remain, in another process."""
    killed = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "state")],
        env=os.environ | {"PYTHONPATH": str(Path(pipeline.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    epochs: list[int] = []

    model, history = fit(tmp_path / "state", on_epoch=lambda epoch, metrics: epochs.append(epoch))

    assert epochs == [3, 4]
    assert_same(model, history, uninterrupted)


def test_a_finished_training_is_not_repeated(uninterrupted: Result, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted.checkpoint, tmp_path / "state")
    epochs: list[int] = []

    model, history = fit(tmp_path / "state", on_epoch=lambda epoch, metrics: epochs.append(epoch))

    assert epochs == []
    assert_same(model, history, uninterrupted)


def with_dropout(params: CnnParams, size: int) -> keras.Model:
    """Return a network that is quick to build, with a random layer."""
    inputs = keras.Input((size, size, 1))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(keras.layers.Rescaling(1 / 255)(inputs)))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.5)(x)))


def test_networks_with_dropout_resume_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "cnn", with_dropout)
    whole = result(*fit(tmp_path / "whole"), tmp_path / "whole")
    with pytest.raises(Stop):
        fit(tmp_path / "state", on_epoch=stop_after(3))

    assert_same(*fit(tmp_path / "state"), whole)


def resumed_epochs(checkpoint: Path, **change: Any) -> int:
    """Return the epoch at which a training would start; it is stopped there."""

    def stop(*_: Any, first_epoch: int, **__: Any) -> None:
        raise Stop(first_epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "AugmentedBatches", stop)
        with pytest.raises(Stop) as stopped:
            fit(checkpoint, **change)
    return stopped.value.args[0]


@pytest.mark.parametrize(
    ("change", "done"),
    [
        pytest.param({}, 4, id="the same"),
        pytest.param({"seed": SEED + 1}, 0, id="seed"),
        pytest.param({"params": PARAMS.model_copy(update={"weight_decay": 0.0})}, 0, id="params"),
        pytest.param({"train": toy(28, seed=9)}, 0, id="train"),
        pytest.param({"validation": toy(12, seed=9)}, 0, id="validation"),
    ],
)
def test_checkpoint_of_another_training_is_not_resumed(
    uninterrupted: Result, tmp_path: Path, change: dict[str, Any], done: int
) -> None:
    shutil.copytree(uninterrupted.checkpoint, tmp_path / "state")

    assert resumed_epochs(tmp_path / "state", **change) == done


def test_incomplete_checkpoint_is_ignored(uninterrupted: Result, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted.checkpoint, tmp_path / "state")
    for file in (tmp_path / "state").rglob("state.json"):
        file.unlink()

    assert resumed_epochs(tmp_path / "state") == 0


def test_it_stops_early_and_returns_the_best_epoch(tmp_path: Path) -> None:
    """Validation has its targets reversed, so that training makes its loss worse."""
    reversed_targets = LabelledImages(toy(12, seed=1).images, 1 - toy(12, seed=1).targets)
    params = PARAMS.model_copy(update={"epochs": 12, "patience": 2, "learning_rate": 0.05, "augment": UNCHANGED})

    model, history = fit(tmp_path / "state", params=params, validation=reversed_targets)

    best = int(history["val_loss"].argmin())
    assert len(history) == best + 1 + params.patience < params.epochs
    logits = model.predict(reversed_targets.images[..., None], verbose=0)[:, 0].astype(np.float64)
    loss = np.mean(np.logaddexp(0, logits) - reversed_targets.targets * logits)
    assert loss == pytest.approx(history["val_loss"].min(), rel=1e-4)
    assert loss != pytest.approx(history["val_loss"].iloc[-1], rel=1e-4)


def test_loss_that_is_not_finite_stops_training_and_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architectures, "cnn", with_dropout)
    params = PARAMS.model_copy(update={"class_weights": False})
    damaged = toy(28, seed=0)

    def damage(epoch: int, metrics: dict[str, float]) -> None:
        if epoch == 2:
            damaged.targets[0] = np.nan

    with pytest.raises(TrainingError, match=r"not finite in epoch 3 .*Lower learning_rate"):
        fit(tmp_path / "state", params=params, train=damaged, on_epoch=damage)
    (state,) = (tmp_path / "state").rglob("state.json")
    assert len(json.loads(state.read_text())["history"]) == 2

    epochs: list[int] = []
    fit(tmp_path / "state", params=params, on_epoch=lambda epoch, metrics: epochs.append(epoch))
    assert epochs == [3, 4]


def test_training_of_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch of one batch leaves no step after the warm-up."""
    monkeypatch.setattr(architectures, "cnn", with_dropout)
    params = PARAMS.model_copy(update={"epochs": 1, "batch_size": 64})

    _, history = fit(tmp_path / "state", params=params)

    assert len(history) == 1


def test_fingerprint_ignores_docstrings_comments_and_layout() -> None:
    source = '''"""Purpose."""\n\ndef double(x):\n    """Return 2 x."""\n    return 2 * x  # exact\n'''
    edited = '''"""Another purpose."""\ndef double(x):\n    """Return x twice."""\n    return (2 *  x)\n'''

    assert fit_module._code(source) == fit_module._code(edited)
    assert fit_module._code(source) != fit_module._code(source.replace("2 * x", "3 * x"))


def kill_in_third_epoch(epoch: int, metrics: dict[str, float]) -> None:
    if epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    fit(Path(sys.argv[1]), on_epoch=kill_in_third_epoch)


def small_backbone(params: FinetuneParams, size: int) -> keras.Model:
    inputs = keras.Input((size, size, 1), name="pixels")
    x = keras.layers.Conv2D(8, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(pooled))


def finetune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[keras.Model, pd.DataFrame]:
    """Train the small backbone for an epoch that changes next to nothing."""
    monkeypatch.setattr(architectures, "finetune", small_backbone)
    recipe = {"kind": "finetune", "backbone": "any", "weights": "any", "epochs": 1, "batch_size": 8}
    params = FinetuneParams.model_validate(recipe | {"learning_rate": 1e-9, "weight_decay": 0.0} | changes)
    return fit_network(
        params,
        toy(60, seed=0),
        toy(40, seed=1),
        seed=SEED,
        checkpoint=tmp_path / "state",
        on_epoch=lambda epoch, metrics: None,
    )


def test_warm_start_separates_the_classes_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cold = finetune(tmp_path / "cold", monkeypatch, warm_start=False)
    _, warm = finetune(tmp_path / "warm", monkeypatch, warm_start=True)

    assert warm["val_loss"].item() < cold["val_loss"].item()
    assert warm["val_auc"].item() > 0.8


def test_network_trained_on_small_images_answers_at_the_size_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = finetune(tmp_path, monkeypatch, train_size=32, warm_start=True)
    enlarged = toy(40, seed=1).images.repeat(2, axis=1).repeat(2, axis=2)

    larger, _ = fit_network(
        FinetuneParams.model_validate(
            {"kind": "finetune", "backbone": "any", "weights": "any", "epochs": 1, "batch_size": 8}
            | {"learning_rate": 1e-9, "train_size": 32}
        ),
        LabelledImages(toy(60, seed=0).images.repeat(2, axis=1).repeat(2, axis=2), toy(60, seed=0).targets),
        LabelledImages(enlarged, toy(40, seed=1).targets),
        seed=SEED,
        checkpoint=tmp_path / "larger",
        on_epoch=lambda epoch, metrics: None,
    )

    assert model.input.shape[1] == 32
    assert larger.input.shape[1] == 64
    logits = larger.predict(enlarged[..., None], verbose=0)[:, 0]
    assert logits[toy(40, seed=1).targets == 1].mean() > logits[toy(40, seed=1).targets == 0].mean()
