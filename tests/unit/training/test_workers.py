"""Data-parallel training equals training by one process: real processes on loopback, with Keras' JAX backend."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import pipeline
from pipeline.kubeflow import train_distributed
from pneumonia.core.errors import TrainingError
from pneumonia.training.augment import AugmentedBatches, augment
from pneumonia.training.fit import LabelledImages, fit_network
from pneumonia.training.settings import AugmentParams, CnnParams
from pneumonia.training.workers import Workers

PARAMS = CnnParams(kind="cnn", filters=[4, 8], epochs=3, batch_size=8, learning_rate=0.01)
PROJECT = Path(pipeline.__file__).parents[1]
TOLERANCE = 1e-4
"""Of losses and weights: gradients are summed in another order."""


def toy(count: int, seed: int) -> LabelledImages:
    """Noise; the positives have a brighter half."""
    rng = np.random.default_rng(seed)
    targets = (np.arange(count) % 2).astype(np.float32)
    images = rng.integers(0, 180, (count, 32, 32), dtype=np.uint8)
    images[targets == 1, 16:] += 70
    return LabelledImages(images, targets)


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def start(folder: Path, workers: int, *, dying: int | None = None) -> list[subprocess.Popen[str]]:
    """Start this file once per worker; rank ``dying`` kills itself at the end of its second epoch."""
    folder.mkdir(exist_ok=True)
    address = free_address()
    return [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), str(workers), str(rank), address, str(rank == dying)],
            env=os.environ
            | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'src'}", "KERAS_BACKEND": "jax", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(workers)
    ]


def ended(processes: list[subprocess.Popen[str]]) -> list[str]:
    return [process.communicate(timeout=120)[0] for process in processes]


def test_lost_worker_is_reported_and_a_restart_gives_the_result_of_one_process(tmp_path: Path) -> None:
    alone = start(tmp_path / "one", workers=1)
    lost, dead = ended(broken := start(tmp_path / "two", workers=2, dying=1))

    assert broken[1].returncode == -signal.SIGKILL, dead
    assert broken[0].returncode == 1, lost
    assert "worker 0 of 2 has lost the others" in lost

    resumed = ended(whole := start(tmp_path / "two", workers=2))

    assert [process.returncode for process in whole] == [0, 0], resumed
    assert all("resuming after epoch 1" in output for output in resumed)
    ended(alone)
    one = pd.read_csv(tmp_path / "one" / "history-0.csv")
    assert len(one) == PARAMS.epochs
    for rank in range(2):
        two = pd.read_csv(tmp_path / "two" / f"history-{rank}.csv")
        np.testing.assert_allclose(two, one, atol=TOLERANCE)
        weights = np.load(tmp_path / "two" / f"weights-{rank}.npz")
        for name, expected in np.load(tmp_path / "one" / "weights-0.npz").items():
            np.testing.assert_allclose(weights[name], expected, atol=TOLERANCE)


@pytest.mark.parametrize("count", [2, 4])
def test_batches_of_all_workers_together_are_those_of_one_process(count: int) -> None:
    data = toy(26, seed=0)

    def epoch(workers: Workers) -> AugmentedBatches:
        return AugmentedBatches(
            data.images,
            data.targets,
            batch_size=8,
            size=24,
            params=AugmentParams(equalize=0.5),
            seed=4,
            first_epoch=0,
            workers=workers,
        )

    one = epoch(Workers())
    shares = [epoch(Workers(count, rank)) for rank in range(count)]

    for number in range(len(data.targets) // 8):
        for part in (0, 1):
            together = np.concatenate([share[number][part] for share in shares])
            np.testing.assert_array_equal(together, one[number][part])
    assert {sum(len(share[number][1]) for number in range(len(share))) for share in shares} == {26 // count}


def test_augmentation_of_a_share_equals_that_of_all_images() -> None:
    images = toy(9, seed=2).images

    every = augment(images, AugmentParams(equalize=0.5), 24, seed=8)

    np.testing.assert_array_equal(augment(images, AugmentParams(equalize=0.5), 24, 8, slice(3, 6)), every[3:6])


def refuse(tmp_path: Path, workers: Workers) -> str:
    with pytest.raises(TrainingError) as refused:
        fit_network(
            PARAMS,
            toy(16, 0),
            toy(8, 1),
            seed=1,
            checkpoint=tmp_path,
            on_epoch=lambda epoch, metrics: None,
            workers=workers,
        )
    return str(refused.value)


def test_batch_size_that_is_not_divisible_is_refused(tmp_path: Path) -> None:
    assert "batch of 8 cannot be shared by 3 workers" in refuse(tmp_path, Workers(3, 0, "127.0.0.1:1"))


def test_other_backend_is_refused(tmp_path: Path) -> None:
    assert "KERAS_BACKEND=jax" in refuse(tmp_path, Workers(2, 0, "127.0.0.1:1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cnn", "--workers", "1"], "--workers"),
        (["cnn", "--workers", "2", "--rank", "0"], "--rank and --coordinator together"),
        (["cnn", "--workers", "2", "--rank", "2", "--coordinator", "host:1"], "below --workers"),
    ],
)
def test_invalid_options_are_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(train_distributed.main, arguments)

    assert result.exit_code == 2
    assert message in result.output


def test_launcher_names_the_failed_worker(tmp_path: Path) -> None:
    """Here all of them do: the folder has no params.yaml."""
    started = subprocess.run(
        [sys.executable, "-m", "pipeline.kubeflow.train_distributed", "cnn", "--workers", "2"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert started.returncode == 1
    assert "params.yaml" in started.stderr
    assert "of 2 exited with status 1, so the others were stopped" in started.stderr
    assert "Traceback" not in started.stderr


def work(folder: Path, workers: Workers, *, dying: bool) -> None:
    def perhaps_die(epoch: int, metrics: dict[str, float]) -> None:
        if dying and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    model, history = fit_network(
        PARAMS,
        toy(28, seed=0),
        toy(12, seed=1),
        seed=3,
        checkpoint=folder / "state",
        on_epoch=perhaps_die,
        workers=workers,
    )
    history.to_csv(folder / f"history-{workers.rank}.csv", index=False)
    np.savez(folder / f"weights-{workers.rank}.npz", *model.get_weights())


if __name__ == "__main__":
    try:
        work(Path(sys.argv[1]), Workers(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]), dying=sys.argv[5] == "True")
    except TrainingError as error:
        print(error, flush=True)
        os._exit(1)
