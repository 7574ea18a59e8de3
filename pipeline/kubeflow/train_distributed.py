"""Train one network with several processes, on one or several machines; the outputs are those of the stage *train*.

``python -m pipeline.kubeflow.train_distributed MODEL --workers 2`` starts both workers on this machine. On several
machines, which share the project's folder, each worker is started with its rank and the address of rank 0.
"""

import os
import socket
import subprocess
import sys
import time
import traceback

import click

from pipeline import stage
from pipeline.params import Params
from pneumonia.core import paths
from pneumonia.core.errors import ConfigError, TrainingError
from pneumonia.training.settings import ProbeParams

LOOPBACK = "127.0.0.1"


@click.command()
@click.argument("model")
@click.option(
    "--workers", type=click.IntRange(min=2), envvar="PNEUMONIA_WORKERS", required=True, help="Number of processes."
)
@click.option(
    "--rank", type=click.IntRange(min=0), envvar="PNEUMONIA_RANK", help="Rank of this worker; 0 writes the outputs."
)
@click.option("--coordinator", envvar="PNEUMONIA_COORDINATOR", help="HOST:PORT of rank 0.")
def main(model: str, workers: int, rank: int | None, coordinator: str | None) -> None:
    """Train MODEL of params.yaml with several workers: start all on this machine, or only that of --rank."""
    if (rank is None) != (coordinator is None):
        raise click.UsageError("give --rank and --coordinator together, or neither to start all workers here")
    if rank is None or coordinator is None:
        _start_all(model, workers)
    elif rank >= workers:
        raise click.UsageError(f"--rank must be below --workers ({workers}), not {rank}")
    else:
        _run_worker(model, workers, rank, coordinator)


def _start_all(model: str, count: int) -> None:
    """Start all workers on this machine and wait for them; if one fails, stop the others."""
    coordinator = f"{LOOPBACK}:{_free_port()}"
    command = [sys.executable, "-m", "pipeline.kubeflow.train_distributed", model, f"--workers={count}"]
    processes = [
        subprocess.Popen([*command, f"--rank={rank}", f"--coordinator={coordinator}"]) for rank in range(count)
    ]
    try:
        while any(process.poll() is None for process in processes):
            _exit_if_failed(processes)
            time.sleep(0.1)
        _exit_if_failed(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _exit_if_failed(processes: list[subprocess.Popen[bytes]]) -> None:
    for rank, process in enumerate(processes):
        if process.returncode:
            sys.exit(
                f"error: worker {rank} of {len(processes)} exited with status {process.returncode}, so the others "
                "were stopped. Correct the error it printed and start again; training resumes after the last epoch."
            )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def _run_worker(model: str, count: int, rank: int, coordinator: str) -> None:
    os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported, which happens later
    try:
        stage.run(lambda params: _train(params, model, count, rank, coordinator))
    except BaseException as error:
        print(error.code, file=sys.stderr) if isinstance(error, SystemExit) else traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)  # a normal exit of JAX waits for the other workers, which wait for this one


def _train(params: Params, name: str, count: int, rank: int, coordinator: str) -> None:
    from pipeline.stages import train
    from pneumonia.arrays import store
    from pneumonia.training import fit
    from pneumonia.training.workers import Workers

    if name not in params.train.models:
        raise ConfigError(
            f"expected one model of train.models in params.yaml ({', '.join(params.train.models)}), got {name}."
        )
    workers = Workers(count, rank, coordinator)
    recipe = params.train.models[name]
    if isinstance(recipe, ProbeParams):
        raise TrainingError(
            f"{name} is a probe, which a single process trains. Use `python -m pipeline.stages.train {name}`."
        )
    if workers.is_leader:
        train.main(params, name, workers)
        return
    data = store.read(paths.IMAGES)
    fit.fit_network(
        recipe,
        train.labelled(data, "train"),
        train.labelled(data, "validation"),
        seed=params.train.seed,
        checkpoint=train.state(name),
        on_epoch=lambda epoch, metrics: None,
        workers=workers,
    )


if __name__ == "__main__":
    main()
