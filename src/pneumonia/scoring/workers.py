"""Shards on the cores of one machine: each worker a process that holds the model once."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pneumonia.errors import ScoringError
from pneumonia.inference.runtime import Runtime
from pneumonia.monitoring.record import Answering
from pneumonia.scoring import shards
from pneumonia.scoring.logged import Note, open_log
from pneumonia.scoring.place import Place
from pneumonia.scoring.plan import Plan


@dataclass(frozen=True)
class Job:
    """What every worker is told: the plan, where the result goes, the bundle's folder, and the log (`open_log`)."""

    plan: Plan
    out: str
    bundle: Path
    log: str | None


def run(job: Job, workers: int) -> Iterator[int]:
    """Score what is left of a plan; yield the number of each shard when it is done.

    Raises:
        ScoringError: a worker was killed; the shards that are done are kept.
    """
    left = shards.left(job.plan, Place(job.out))
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_open, initargs=(job,))
    try:
        for done in as_completed([pool.submit(_score, shard) for shard in left]):
            yield done.result()
    except BrokenProcessPool as error:
        raise ScoringError(
            "a worker died in the middle of its work (killed, or out of memory). The shards that are done are kept in "
            f"{job.out}: run the same command again, with fewer --workers if memory ran out."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def score_shard(job: Job, shard: int) -> None:
    """Score one shard in this process."""
    runtime = Runtime.load(job.bundle, threads=1)
    with open_log(Answering.of(runtime.bundle.card, job.plan.version), job.log, "batch") as note:
        shards.score(job.plan, shard, Place(job.out), runtime, note)


@dataclass
class _Worker:
    job: Job
    runtime: Runtime
    note: Note


_open_things = ExitStack()
_worker: _Worker | None = None


def _open(job: Job) -> None:
    global _worker
    os.environ["OMP_NUM_THREADS"] = "1"  # a process per core; more threads would only wait for each other
    runtime = Runtime.load(job.bundle, threads=1)
    answering = Answering.of(runtime.bundle.card, job.plan.version)
    _worker = _Worker(job, runtime, _open_things.enter_context(open_log(answering, job.log, "batch")))


def _score(shard: int) -> int:
    assert _worker is not None
    shards.score(_worker.job.plan, shard, Place(_worker.job.out), _worker.runtime, _worker.note)
    return shard
