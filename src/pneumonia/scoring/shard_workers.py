"""Score shards in parallel processes, each of which loads the model once."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pneumonia.core.errors import ScoringError
from pneumonia.inference.runtime import Runtime
from pneumonia.monitoring.record import ModelIdentity
from pneumonia.scoring import shards
from pneumonia.scoring.place import Place
from pneumonia.scoring.plan import ScoringPlan
from pneumonia.scoring.prediction_logging import LogPredictions, open_log


@dataclass(frozen=True)
class ScoringJob:
    """Arguments of every worker.

    Attributes:
        plan: the plan.
        out: folder or URL for the result.
        bundle: folder of the model.
        log: SQLAlchemy URL of the prediction log, as in `open_log`.
    """

    plan: ScoringPlan
    out: str
    bundle: Path
    log: str | None


def run(job: ScoringJob, workers: int) -> Iterator[int]:
    """Score all pending shards of a plan, and yield the number of each shard when it is finished.

    Args:
        job: the job.
        workers: number of processes.

    Raises:
        ScoringError: a worker was killed; finished shards are kept.
    """
    pending = shards.pending(job.plan, Place(job.out))
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(job,))
    try:
        for future in as_completed([pool.submit(_score, shard) for shard in pending]):
            yield future.result()
    except BrokenProcessPool as error:
        raise ScoringError(
            f"a worker process died (killed, or out of memory). Finished shards are kept in {job.out}: run the same "
            "command again, with fewer --workers if memory was short."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def score_shard(job: ScoringJob, shard: int) -> None:
    """Score one shard in this process."""
    with ExitStack() as resources:
        _Worker.start(job, resources).score(shard)


@dataclass(frozen=True)
class _Worker:
    job: ScoringJob
    runtime: Runtime
    log_predictions: LogPredictions

    @classmethod
    def start(cls, job: ScoringJob, resources: ExitStack) -> "_Worker":
        runtime = Runtime.load(job.bundle, threads=1)
        model = ModelIdentity.of(runtime.bundle.card, job.plan.version)
        return cls(job, runtime, resources.enter_context(open_log(model, job.log, "batch")))

    def score(self, shard: int) -> None:
        shards.score(self.job.plan, shard, Place(self.job.out), self.runtime, self.log_predictions)


_resources = ExitStack()
_worker: _Worker | None = None


def _start(job: ScoringJob) -> None:
    """Initialize a worker process."""
    global _worker
    os.environ["OMP_NUM_THREADS"] = "1"  # one process per core: more threads would compete for it
    _worker = _Worker.start(job, _resources)


def _score(shard: int) -> int:
    assert _worker is not None
    _worker.score(shard)
    return shard
