"""One training by several processes: each takes its share of every batch, and all keep the same weights.

Only Keras' JAX backend can do this today; the network, its recipe and the order of its images are those of a single
process (`keras.distribution.DataParallel`, whose gradients and batch statistics are those of the whole batch).
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import keras

from pneumonia.errors import TrainingError

START_SECONDS = 300
SILENCE_SECONDS = 30
"""How long the others may take to start, and how long one may be silent before it counts as gone."""
SIGNS_OF_LOSS = ("Gloo", "UNAVAILABLE", "DEADLINE_EXCEEDED")
"""What JAX's errors say when another process does not answer."""


@dataclass(frozen=True)
class Workers:
    """The processes of one training, seen from one of them.

    Attributes:
        count: how many they are; 1 for a training of its own.
        rank: of this process, from 0; rank 0 keeps the state between epochs.
        coordinator: ``host:port`` where rank 0 listens and the others find it.
    """

    count: int = 1
    rank: int = 0
    coordinator: str = ""

    @property
    def leads(self) -> bool:
        """Whether this process writes what comes of the training."""
        return self.rank == 0

    def evenly(self, total: int) -> int:
        """Return how many of ``total`` rows can be shared evenly: up to ``count - 1`` less."""
        return total - total % self.count

    def share(self, total: int) -> slice:
        """Return which of ``total`` rows are this process's; ``total`` is a multiple of ``count``."""
        each = total // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Wait for the others, and leave together with them; nothing may have been computed before.

        Raises:
            TrainingError: the backend cannot do this, or another worker does not come or has gone.
        """
        if self.count == 1:
            yield
            return
        if keras.backend.backend() != "jax":
            raise TrainingError(
                f"{self.count} workers need Keras' JAX backend, and this is {keras.backend.backend()}. Set "
                "KERAS_BACKEND=jax, or use `python -m pipeline.train_distributed`, which does."
            )
        import jax

        try:
            jax.distributed.initialize(
                self.coordinator,
                self.count,
                self.rank,
                initialization_timeout=START_SECONDS,
                heartbeat_timeout_seconds=SILENCE_SECONDS,
            )
            yield
            jax.distributed.shutdown()  # type: ignore[no-untyped-call]
        except (jax.errors.JaxRuntimeError, ValueError) as error:  # a ValueError, too, may come of its transport
            if not any(sign in str(error) for sign in SIGNS_OF_LOSS):
                raise
            raise TrainingError(
                f"worker {self.rank} of {self.count} has lost the others ({str(error).splitlines()[0]}). One has "
                "ended, or cannot be reached: see what it said. Start them all again; the last whole epoch is kept."
            ) from error

    @contextlib.contextmanager
    def spread(self) -> Iterator[None]:
        """Lay networks that are made inside over all processes; what is made outside is this process's own."""
        if self.count == 1:
            yield
            return
        with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
            yield


ALONE = Workers()
