"""Dynamic batching: concurrent images are decoded in parallel and passed to the network in batches.

A batch is what has arrived while the previous ones were computed, so that a single image is never delayed (continuous
batching). Each worker uses one core: two batches side by side cost less than one that two cores share. The queue is
bounded: an image that finds it full is rejected at once.
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

from pneumonia.core.errors import ImageError
from pneumonia.inference import intake as intakes
from pneumonia.inference.intake import Intake, Limits, Refusal
from pneumonia.inference.runtime import Reading
from pneumonia.serving.active_model import ActiveModel, LoadedModel
from pneumonia.serving.schemas import Status


class QueueFullError(Exception):
    """The queue of images is full."""


@dataclass(frozen=True)
class ImageResult:
    """Outcome for one image.

    Attributes:
        status: answered, refused, or unreadable.
        model: model in use when the image arrived.
        intake: decoded image; None if unreadable.
        reading: output of the model; None if the image was refused before inference.
        refusal: why there is no result; None if there is one.
        latency_ms: time from submission to result, in milliseconds.
    """

    status: Status
    model: LoadedModel
    intake: Intake | None
    reading: Reading | None
    refusal: Refusal | None
    latency_ms: float


@dataclass
class _Job:
    model: LoadedModel
    read: Callable[[], bytes]
    intake: Intake | None = None
    started: float = field(default_factory=time.perf_counter)
    future: "Future[ImageResult]" = field(default_factory=Future)

    def finish(self, refusal: Refusal | None, reading: Reading | None = None) -> None:
        """Set the result."""
        status: Status = "unreadable" if self.intake is None else "refused" if refusal else "answered"
        with suppress(InvalidStateError):  # cancelled
            latency_ms = (time.perf_counter() - self.started) * 1000
            self.future.set_result(ImageResult(status, self.model, self.intake, reading, refusal, latency_ms))

    def fail(self, error: Exception) -> None:
        """Set an unexpected error as the outcome."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


class InferenceBatcher:
    """Processes images with the active model."""

    def __init__(self, active: ActiveModel, limits: Limits, *, queue_size: int, batch_size: int, workers: int) -> None:
        """Start the threads.

        Args:
            active: model in use.
            limits: limits on one image.
            queue_size: maximum number of images waiting or being processed.
            batch_size: maximum number of images per forward pass.
            workers: number of batches computed in parallel.
        """
        self.active = active
        self._limits = limits
        self._slots = threading.BoundedSemaphore(queue_size)
        self._batch_size = batch_size
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, "decode")
        self._decoded: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._workers = [threading.Thread(target=self._work, name="inference", daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    def submit(self, read: Callable[[], bytes]) -> "Future[ImageResult]":
        """Schedule one image and return the future of its result; cancel the future to skip remaining work.

        Args:
            read: returns the bytes of the image, called in another thread; raises ImageError if it cannot.

        Raises:
            QueueFullError: the queue is full.
        """
        if not self._slots.acquire(blocking=False):
            raise QueueFullError
        job = _Job(self.active.model, read)
        job.future.add_done_callback(lambda _: self._slots.release())
        self._decoders.submit(self._decode, job)
        return job.future

    def close(self) -> None:
        """Finish the queued images and stop the threads."""
        self._decoders.shutdown()
        for _ in self._workers:
            self._decoded.put(None)
        for worker in self._workers:
            worker.join()

    def _decode(self, job: _Job) -> None:
        if job.future.cancelled():
            return
        try:
            job.intake = intakes.take_in(job.read(), job.model.runtime.bundle.card.image_size, self._limits)
            refusal = intakes.refuse(job.intake)
        except ImageError as error:
            job.finish(Refusal(intakes.UNREADABLE, str(error)))
        except Exception as error:  # unexpected: raised in the thread that waits for the result
            job.fail(error)
        else:
            if refusal:
                job.finish(refusal)
            else:
                self._decoded.put(job)

    def _work(self) -> None:
        while job := self._decoded.get():
            jobs = [job]
            while len(jobs) < self._batch_size and (another := self._next_or_none()):
                jobs.append(another)
            waiting = [job for job in jobs if not job.future.cancelled()]
            for _, same_model in groupby(waiting, key=lambda job: id(job.model)):
                _infer(list(same_model))

    def _next_or_none(self) -> _Job | None:
        try:
            job = self._decoded.get_nowait()
        except queue.Empty:
            return None
        if job is None:  # the stop signal belongs to the caller of `get`
            self._decoded.put(None)
        return job


def _infer(jobs: list[_Job]) -> None:
    """Finish jobs that have the same model with one forward pass."""
    try:
        squares = np.stack([job.intake.square for job in jobs if job.intake])
        readings = jobs[0].model.runtime.run(squares)
    except Exception as error:  # unexpected: raised in the threads that wait for the results
        for job in jobs:
            job.fail(error)
    else:
        for job, reading in zip(jobs, readings, strict=True):
            job.finish(reading.refusal, reading)
