"""The engine: image bytes in, answers out, many at once.

Decoders take images in, several at a time; workers hand what is ready to the network in batches. A batch is whatever
has come while the ones before were computed, so that a lone image never waits for company (continuous batching). Each
worker keeps to one core: two batches side by side cost less than one that two cores share. The queue has an end: what
finds no place is refused at once instead of waiting for its timeout.
"""

import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from pneumonia.app.schemas import Status
from pneumonia.app.swap import CurrentModel, Model
from pneumonia.errors import ImageError
from pneumonia.inference import intake as intakes
from pneumonia.inference.intake import Intake, Limits, Refusal
from pneumonia.inference.runtime import Reading


class Busy(Exception):
    """The queue is full."""


@dataclass(frozen=True)
class Study:
    """What came of one image.

    Attributes:
        status: answered, refused, or unreadable.
        model: the one that answered, or would have.
        intake: the decoded image; None where it is unreadable.
        reading: what the network said; None where it was not asked.
        refusal: why there is no answer.
        latency_ms: from the bytes to this.
    """

    status: Status
    model: Model
    intake: Intake | None
    reading: Reading | None
    refusal: Refusal | None
    latency_ms: float


@dataclass
class _Job:
    model: Model
    read: Callable[[], bytes]
    intake: Intake | None = None
    started: float = field(default_factory=time.perf_counter)
    done: "Future[Study]" = field(default_factory=Future)

    def end(self, refusal: Refusal | None, reading: Reading | None = None) -> None:
        """Tell what came of it."""
        status: Status = "unreadable" if self.intake is None else "refused" if refusal else "answered"
        with suppress(InvalidStateError):  # whoever asked has given up
            latency_ms = (time.perf_counter() - self.started) * 1000
            self.done.set_result(Study(status, self.model, self.intake, reading, refusal, latency_ms))

    def fail(self, error: Exception) -> None:
        """Tell that something went wrong that should not."""
        with suppress(InvalidStateError):
            self.done.set_exception(error)


class Engine:
    """Answers images with the current model."""

    def __init__(self, current: CurrentModel, limits: Limits, *, places: int, batch: int, workers: int) -> None:
        """Start the threads.

        Args:
            current: the model that answers.
            limits: of one image.
            places: images that may be in the engine at once.
            batch: images that the network sees at once, at most.
            workers: batches that are computed at once.
        """
        self.current = current
        self._limits = limits
        self._places = threading.BoundedSemaphore(places)
        self._batch = batch
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, "decode")
        self._decoded: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._workers = [threading.Thread(target=self._work, name="network", daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    def submit(self, read: Callable[[], bytes]) -> "Future[Study]":
        """Ask for an answer; ``read`` gives the bytes, in another thread, or raises ImageError.

        A future that is cancelled costs no more work.

        Raises:
            Busy: the queue is full.
        """
        if not self._places.acquire(blocking=False):
            raise Busy
        job = _Job(self.current.model, read)
        job.done.add_done_callback(lambda _: self._places.release())
        self._decoders.submit(self._take_in, job)
        return job.done

    def close(self) -> None:
        """End the threads when what is queued has been answered."""
        self._decoders.shutdown()
        for _ in self._workers:
            self._decoded.put(None)
        for worker in self._workers:
            worker.join()

    def _take_in(self, job: _Job) -> None:
        if job.done.cancelled():
            return
        try:
            job.intake = intakes.take_in(job.read(), job.model.runtime.bundle.card.image_size, self._limits)
            refusal = intakes.refuse(job.intake)
        except ImageError as error:
            job.end(Refusal(intakes.UNREADABLE, str(error)))
        except Exception as error:  # a bug, told to whoever asked
            job.fail(error)
        else:
            if refusal:
                job.end(refusal)
            else:
                self._decoded.put(job)

    def _work(self) -> None:
        while job := self._decoded.get():
            jobs = [job]
            while len(jobs) < self._batch and (another := self._next_if_any()):
                jobs.append(another)
            waiting = [job for job in jobs if not job.done.cancelled()]
            for _, alike in groupby(waiting, key=lambda job: id(job.model)):
                _answer(list(alike))

    def _next_if_any(self) -> _Job | None:
        try:
            job = self._decoded.get_nowait()
        except queue.Empty:
            return None
        if job is None:  # the sign to end is for whoever asks next
            self._decoded.put(None)
        return job


def _answer(jobs: list[_Job]) -> None:
    """Answer images with the model that all of them came in for."""
    try:
        squares = np.stack([job.intake.square for job in jobs if job.intake])
        readings = jobs[0].model.runtime.run(squares)
    except Exception as error:  # a bug, told to whoever asked
        for job in jobs:
            job.fail(error)
    else:
        for job, reading in zip(jobs, readings, strict=True):
            job.end(reading.refusal, reading)
