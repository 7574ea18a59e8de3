"""Data-parallel training by several processes, which keep the same weights.

Only Keras' JAX backend supports this today (`keras.distribution.DataParallel`, whose gradients and batch statistics
are those of the whole batch). Each process computes its share of every batch; network, recipe and order of the images
are those of a single process.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import keras

from pneumonia.core.errors import TrainingError

START_TIMEOUT = 300
"""Seconds that all processes have to connect."""
HEARTBEAT_TIMEOUT = 30
"""Seconds without a sign of life after which a process counts as lost."""
CONNECTION_ERRORS = ("Gloo", "UNAVAILABLE", "DEADLINE_EXCEEDED")
"""Parts of JAX's error messages when another process does not answer."""


@dataclass(frozen=True)
class Workers:
    """The processes of one training, and this process's rank among them.

    Attributes:
        count: number of processes; 1 for ordinary training.
        rank: of this process, from 0; rank 0 is the leader and writes the checkpoints.
        coordinator: ``host:port`` where rank 0 listens and the others connect.
    """

    count: int = 1
    rank: int = 0
    coordinator: str = ""

    @property
    def is_leader(self) -> bool:
        """Whether this process writes the results of the training."""
        return self.rank == 0

    def divisible(self, total: int) -> int:
        """Return the largest multiple of ``count`` that is not above ``total``."""
        return total - total % self.count

    def share(self, total: int) -> slice:
        """Return the rows of this process among ``total`` rows, a multiple of ``count``."""
        each = total // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Connect to the other processes, and disconnect together; nothing may have been computed before.

        Raises:
            TrainingError: the backend is not JAX, or another process does not connect or is lost.
        """
        if self.count == 1:
            yield
            return
        if keras.backend.backend() != "jax":
            raise TrainingError(
                f"training by {self.count} workers needs Keras' JAX backend, but the backend is "
                f"{keras.backend.backend()}. Set KERAS_BACKEND=jax, or use `python -m "
                "pipeline.kubeflow.train_distributed`, which does."
            )
        import jax

        try:
            jax.distributed.initialize(
                self.coordinator,
                self.count,
                self.rank,
                initialization_timeout=START_TIMEOUT,
                heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
            )
            yield
            jax.distributed.shutdown()  # type: ignore[no-untyped-call]
        except (jax.errors.JaxRuntimeError, ValueError) as error:  # its transport raises ValueError, too
            if not any(part in str(error) for part in CONNECTION_ERRORS):
                raise
            raise TrainingError(
                f"worker {self.rank} of {self.count} has lost the others ({str(error).splitlines()[0]}). One has "
                "ended or cannot be reached: see its log. Start all of them again; training resumes after the last "
                "complete epoch."
            ) from error

    @contextlib.contextmanager
    def replicated(self) -> Iterator[None]:
        """Replicate models created in this scope on all processes."""
        if self.count == 1:
            yield
            return
        with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
            yield


ALONE = Workers()
