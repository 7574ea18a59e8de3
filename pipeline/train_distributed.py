"""Train one network by several processes, here or on several machines; what comes of it is what *train* leaves.

``python -m pipeline.train_distributed MODEL --workers 2`` starts both here. On several machines, which share the
folder of the project, each is started with its rank and with the address of rank 0.
"""

import os
import socket
import subprocess
import sys
import time
import traceback

import click

from pipeline import stage
from pneumonia import config
from pneumonia.errors import TrainingError

LOOPBACK = "127.0.0.1"


@click.command()
@click.argument("model")
@click.option("--workers", type=click.IntRange(min=2), envvar="PNEUMONIA_WORKERS", required=True, help="How many.")
@click.option("--rank", type=click.IntRange(min=0), envvar="PNEUMONIA_RANK", help="Be this one of them; 0 leads.")
@click.option("--coordinator", envvar="PNEUMONIA_COORDINATOR", help="HOST:PORT where rank 0 is found.")
def main(model: str, workers: int, rank: int | None, coordinator: str | None) -> None:
    """Train MODEL of params.yaml by several workers: start all of them here, or be the one of --rank."""
    if (rank is None) != (coordinator is None):
        raise click.UsageError("give --rank and --coordinator together, or neither to start all workers here")
    if rank is None or coordinator is None:
        _start_all(model, workers)
    elif rank >= workers:
        raise click.UsageError(f"--rank must be below --workers ({workers}), not {rank}")
    else:
        _be_one(model, workers, rank, coordinator)


def _start_all(model: str, count: int) -> None:
    """Start all workers on this machine and wait for them; when one fails, stop the others."""
    coordinator = f"{LOOPBACK}:{_free_port()}"
    command = [sys.executable, "-m", "pipeline.train_distributed", model, f"--workers={count}"]
    processes = [
        subprocess.Popen([*command, f"--rank={rank}", f"--coordinator={coordinator}"]) for rank in range(count)
    ]
    try:
        while any(process.poll() is None for process in processes):
            _refuse_failed(processes)
            time.sleep(0.1)
        _refuse_failed(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _refuse_failed(processes: list[subprocess.Popen[bytes]]) -> None:
    for rank, process in enumerate(processes):
        if process.returncode:
            sys.exit(
                f"error: worker {rank} of {len(processes)} has ended with status {process.returncode}, and so the "
                "others were stopped. Mend what it said and start again; the last whole epoch is kept."
            )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def _be_one(model: str, count: int, rank: int, coordinator: str) -> None:
    os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported, so that comes after
    try:
        stage.run(lambda params: _train(params, model, count, rank, coordinator))
    except BaseException as error:
        print(error.code, file=sys.stderr) if isinstance(error, SystemExit) else traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)  # a usual exit of JAX waits for the others, and they would wait for this worker


def _train(params: config.Params, name: str, count: int, rank: int, coordinator: str) -> None:
    from pipeline import conclude, train
    from pneumonia.images import store as images
    from pneumonia.models import fit
    from pneumonia.models.workers import Workers

    workers = Workers(count, rank, coordinator)
    recipe = train.recipe(params, name)
    if isinstance(recipe, config.ProbeParams):
        raise TrainingError(
            f"{name} is a probe, which one process fits at once. Use `python -m pipeline.train {name}`."
        )
    if workers.leads:
        train.main(params, name, workers)
        return
    data = images.read(train.IMAGES)
    fit.fit_network(
        recipe,
        conclude.labelled(data, "train"),
        conclude.labelled(data, "validation"),
        seed=params.train.seed,
        checkpoint=train.state(name),
        on_epoch=lambda epoch, metrics: None,
        workers=workers,
    )


if __name__ == "__main__":
    main()
