"""Gradient descent with checkpoints: an interrupted training resumes, with the same result.

After every epoch the complete state (weights, optimizer, best weights so far, history) is saved; all randomness
depends on (seed, epoch, batch) alone, so that a resumed training repeats what an uninterrupted one would have done.
"""

import ast
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.errors import TrainingError
from pneumonia.training import architectures, probe
from pneumonia.training.augment import AugmentedBatches, augment, hash_seed
from pneumonia.training.settings import CnnParams, FinetuneParams
from pneumonia.training.workers import ALONE, Workers

WARMUP_SHARE = 0.1
WARM_START_INVERSE_REGULARIZATION = 0.3
OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class LabelledImages:
    """Images with their classes.

    Attributes:
        images: decoded, 0 to 255, shape (N, size, size).
        targets: 0 (NORMAL) or 1 (PNEUMONIA), shape (N,).
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.float32]


@dataclass
class Progress:
    """Metrics of the epochs done, one row each, and the best epoch (from 0) by validation loss."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1

    @property
    def epochs_done(self) -> int:
        """Number of complete epochs."""
        return len(self.history)

    def epochs_without_gain(self) -> int:
        """Return the number of epochs since the best one."""
        return self.epochs_done - 1 - self.best_epoch


def fit_network(
    params: CnnParams | FinetuneParams,
    train: LabelledImages,
    validation: LabelledImages,
    *,
    seed: int,
    checkpoint: Path,
    on_epoch: OnEpoch,
    workers: Workers = ALONE,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train a network and return it at its best epoch, with the history of all epochs.

    Args:
        params: the network and its recipe.
        train: training images.
        validation: images whose loss selects the best epoch and stops training early; augmented like the training
            images, or an epoch that reads the class from how the files were made would win.
        seed: of weights, order and augmentation.
        checkpoint: folder for the state between epochs; a state of exactly this training in it is resumed.
        on_epoch: called with (epoch, metrics) after each epoch of this process; epochs count from 1.
        workers: the processes that train together, all of them calling this with the same arguments and the same
            folder; each computes its share of every batch, and all return the same network.

    Returns:
        The model, and a table with epoch, loss, accuracy, auc, val_loss, val_accuracy, val_auc, learning_rate.

    Raises:
        WeightsError: pretrained weights are not available.
        TrainingError: the loss is not finite, the batch cannot be shared evenly, or another worker is lost.
    """
    if params.batch_size % workers.count:
        raise TrainingError(
            f"a batch of {params.batch_size} cannot be shared by {workers.count} workers. "
            "Choose a number of workers that divides batch_size in params.yaml."
        )
    keras.utils.set_random_seed(seed)
    state = _Checkpoint(checkpoint, params, train, validation, seed, workers)
    with workers.joined():
        model, progress = state.load() or (_build(params, train, seed, workers), Progress())
        finished = progress.epochs_done and progress.epochs_without_gain() >= params.patience
        if not finished:
            with workers.replicated():
                _run(model, params, train, validation, seed, progress, state, on_epoch, workers)
    history = pd.DataFrame(progress.history)
    history.insert(0, "epoch", np.arange(1, len(history) + 1))
    return architectures.at_size(state.best(), train.images.shape[1]), history


def _train_size(params: CnnParams | FinetuneParams, train: LabelledImages) -> int:
    """Return the side of the training images; global average pooling lets the network answer at another size."""
    train_size = params.train_size if isinstance(params, FinetuneParams) else None
    return train_size or int(train.images.shape[1])


def _build(params: CnnParams | FinetuneParams, train: LabelledImages, seed: int, workers: Workers) -> keras.Model:
    size = train.images.shape[1]
    if isinstance(params, CnnParams):
        model = architectures.cnn(params, size)
    else:
        # Built at the size of the images, for which the probe's pretrained weights are available, too.
        model = architectures.at_size(architectures.finetune(params, size), _train_size(params, train))
        if params.warm_start:
            _warm_start(model, params, train, seed)
    steps = params.epochs * -(-len(train.targets) // params.batch_size)
    warmup = max(1, int(steps * WARMUP_SHARE))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), alpha=0.0, warmup_target=params.learning_rate, warmup_steps=warmup
    )
    with workers.replicated():
        if workers.count > 1:
            model = architectures.at_size(model, model.input.shape[1])  # the same network, replicated
        model.compile(
            optimizer=keras.optimizers.AdamW(schedule, weight_decay=params.weight_decay),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[
                keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy"),
                keras.metrics.AUC(from_logits=True, name="auc"),
            ],
            jit_compile=keras.backend.backend() == "jax",  # XLA makes TensorFlow several times slower on CPUs
        )
    return model


def _warm_start(model: keras.Model, params: FinetuneParams, train: LabelledImages, seed: int) -> None:
    """Set the head to a logistic regression on the pretrained features.

    Fine-tuning from a random head distorts the pretrained features first, which costs accuracy on shifted data: Kumar
    et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022.
    """
    extractor = keras.Model(model.input, model.get_layer("pool").output)
    images = augment(train.images, params.augment, model.input.shape[1], hash_seed(seed))
    features = extractor.predict(images[..., None], batch_size=params.batch_size, verbose=2).astype(np.float64)
    weights, bias = probe.linear_head(features, train.targets, WARM_START_INVERSE_REGULARIZATION)
    model.get_layer("logit").set_weights([weights[:, None], np.array([bias])])


def _run(
    model: keras.Model,
    params: CnnParams | FinetuneParams,
    train: LabelledImages,
    validation: LabelledImages,
    seed: int,
    progress: Progress,
    state: "_Checkpoint",
    on_epoch: OnEpoch,
    workers: Workers,
) -> None:
    size = _train_size(params, train)
    batches = AugmentedBatches(
        train.images,
        train.targets,
        batch_size=params.batch_size,
        size=size,
        params=params.augment,
        seed=seed,
        first_epoch=progress.epochs_done,
        workers=workers,
    )
    share = workers.share(workers.divisible(len(validation.targets)))
    checked = augment(validation.images, params.augment, size, hash_seed(seed), share)
    model.fit(
        batches,
        shuffle=False,  # Keras would shuffle batches from a global random state that a restart loses
        initial_epoch=progress.epochs_done,
        epochs=params.epochs,
        validation_data=(checked[..., None], validation.targets[share, None]),
        validation_batch_size=params.batch_size // workers.count,
        class_weight=_class_weights(train.targets) if params.class_weights else None,
        callbacks=[_SeedEpoch(seed), _AfterEpoch(params.patience, progress, state, on_epoch)],
        verbose=2 if workers.is_leader else 0,
    )


def _class_weights(targets: NDArray[np.float32]) -> dict[int, float]:
    positive = float(targets.mean())
    return {0: 0.5 / (1.0 - positive), 1: 0.5 / positive}


class _SeedEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Seed random layers such as dropout at each epoch: Keras does not save their state."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for number, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.state.assign([hash_seed(self._seed, epoch, number) % 2**31, 0])


class _AfterEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Check that the loss is finite, record the best epoch, save the state, stop early."""

    def __init__(self, patience: int, progress: Progress, state: "_Checkpoint", on_epoch: OnEpoch) -> None:
        super().__init__()
        self._patience = patience
        self._progress = progress
        self._state = state
        self._on_epoch = on_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        metrics["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        if not (np.isfinite(metrics["loss"]) and np.isfinite(metrics["val_loss"])):
            raise TrainingError(
                f"the loss is not finite in epoch {epoch + 1} (train {metrics['loss']}, validation "
                f"{metrics['val_loss']}). Lower learning_rate in params.yaml; the checkpoint of the epoch before is "
                "kept."
            )
        history = self._progress.history
        is_best = not history or metrics["val_loss"] < history[self._progress.best_epoch]["val_loss"]
        history.append(metrics)
        if is_best:
            self._progress.best_epoch = epoch
        self._on_epoch(epoch + 1, metrics)
        self._state.save(self.model, self._progress, is_best=is_best)
        if self._progress.epochs_without_gain() >= self._patience:
            self.model.stop_training = True


class _Checkpoint:
    """The state after the last complete epoch, in a folder that is renamed into place."""

    def __init__(
        self,
        folder: Path,
        params: CnnParams | FinetuneParams,
        train: LabelledImages,
        validation: LabelledImages,
        seed: int,
        workers: Workers,
    ) -> None:
        self._folder = folder
        self._fingerprint = _fingerprint(params, train, validation, seed, workers)
        self._workers = workers

    def save(self, model: keras.Model, progress: Progress, *, is_best: bool) -> None:
        if not self._workers.is_leader:
            # While saving, JAX synchronises with all workers and waits for them, so each has to save.
            with tempfile.TemporaryDirectory() as scratch:
                model.save(Path(scratch, "model.keras"))
            return
        previous = self._latest()
        new = self._folder / f"epoch-{progress.epochs_done:04d}"
        partial = self._folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        model.save(partial / "model.keras")
        if is_best or previous is None:
            shutil.copyfile(partial / "model.keras", partial / "best.keras")
        else:
            shutil.copyfile(previous / "best.keras", partial / "best.keras")
        state = {"fingerprint": self._fingerprint, "best_epoch": progress.best_epoch, "history": progress.history}
        (partial / "state.json").write_text(json.dumps(state))
        partial.rename(new)
        if previous is not None:
            shutil.rmtree(previous)

    def load(self) -> tuple[keras.Model, Progress] | None:
        latest = self._latest()
        if latest is None:
            shutil.rmtree(self._folder, ignore_errors=True)  # of another training, or incomplete
            return None
        state = json.loads((latest / "state.json").read_text())
        progress = Progress(state["history"], state["best_epoch"])
        print(f"resuming after epoch {progress.epochs_done}", flush=True)
        with self._workers.replicated():
            return keras.saving.load_model(latest / "model.keras"), progress

    def best(self) -> keras.Model:
        latest = self._latest()
        assert latest is not None, "no epoch has been saved"
        return keras.saving.load_model(latest / "best.keras", compile=False)

    def _latest(self) -> Path | None:
        for state in sorted(self._folder.glob("epoch-*/state.json"), reverse=True):
            if json.loads(state.read_text())["fingerprint"] == self._fingerprint:
                return state.parent
        return None


def _fingerprint(
    params: CnnParams | FinetuneParams,
    train: LabelledImages,
    validation: LabelledImages,
    seed: int,
    workers: Workers,
) -> str:
    """Return a hash of all that determines the result: recipe, data, seed, backend, workers and this package."""
    digest = hashlib.sha256(
        f"{params.model_dump_json()} {seed} {keras.__version__} {keras.backend.backend()} {workers.count}".encode()
    )
    for part in (train, validation):
        digest.update(np.ascontiguousarray(part.images).data)
        digest.update(part.targets.data)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(_code(source.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()


def _code(source: str) -> str:
    """Return Python source without comments, formatting and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
