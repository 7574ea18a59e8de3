"""The model that answers, and how another takes its place without a restart.

A watcher asks now and then which bundle should answer. Another one is loaded beside the old, which answers meanwhile
and stays if the new one does not load.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pneumonia.errors import PneumoniaError
from pneumonia.inference.runtime import Runtime
from pneumonia.models.bundle import CARD_FILE
from pneumonia.serving import Choice

RETRY_SECONDS = 300.0
"""After which a bundle that failed to load is tried again, though nothing about it has changed."""

log = logging.getLogger(__name__)
Identity = tuple[Choice, int]


@dataclass(frozen=True)
class Model:
    """A loaded bundle: what answers, where it comes from, and since when it is here."""

    runtime: Runtime
    choice: Choice
    loaded: datetime


@dataclass(frozen=True)
class Failure:
    """A bundle that should answer and cannot, and why."""

    identity: Identity | None
    reason: str
    tried: float


class CurrentModel:
    """Holds the model that answers and follows what ``choose`` says."""

    def __init__(self, choose: Callable[[], Choice], on_change: Callable[["CurrentModel"], None]) -> None:
        """Load the model that should answer.

        Args:
            choose: says which bundle should answer.
            on_change: called after each swap and each failed attempt.

        Raises:
            PneumoniaError: there is none, or it does not load.
        """
        self._choose = choose
        self._on_change = on_change
        choice = choose()
        self._identity = _identify(choice)
        self._failure: Failure | None = None
        self._stopped = threading.Event()
        self._model = _load(choice)
        on_change(self)

    @property
    def model(self) -> Model:
        """The model that answers now; hold on to it for all of one answer."""
        return self._model

    @property
    def failure(self) -> str | None:
        """Why the model that should answer does not; None where it does."""
        return self._failure.reason if self._failure else None

    def watch(self, seconds: float) -> None:
        """Follow from now on, in a thread of its own, until `stop`."""

        def run() -> None:
            while not self._stopped.wait(seconds):
                self.follow()

        threading.Thread(target=run, name="model-watch", daemon=True).start()

    def stop(self) -> None:
        """End the watch."""
        self._stopped.set()

    def follow(self) -> None:
        """Look once, and swap if another bundle should answer. Never raises: the old model answers on."""
        identity: Identity | None = None
        try:
            choice = self._choose()
            identity = _identify(choice)
            if identity == self._identity:
                self._set_failure(None)
            elif self._may_try(identity):
                self._model, self._identity = _load(choice), identity
                log.info("model swapped", extra={"origin": choice.origin})
                self._set_failure(None, swapped=True)
        except Exception as error:  # whatever is wrong with the new one: the service goes on
            log.error("model not swapped", exc_info=error)
            reason = str(error) if isinstance(error, PneumoniaError) else f"it failed with {type(error).__name__}."
            self._set_failure(Failure(identity, reason, time.monotonic()))

    def _may_try(self, identity: Identity) -> bool:
        failed = self._failure
        return failed is None or failed.identity != identity or time.monotonic() - failed.tried > RETRY_SECONDS

    def _set_failure(self, failure: Failure | None, *, swapped: bool = False) -> None:
        changed = swapped or failure != self._failure
        self._failure = failure
        if changed:
            self._on_change(self)


def _identify(choice: Choice) -> Identity:
    """Tell bundles apart, and a folder from what is written to it later: the card is written last."""
    card = choice.folder / CARD_FILE
    return choice, card.stat().st_mtime_ns if card.is_file() else 0


def _load(choice: Choice) -> Model:
    return Model(Runtime.load(choice.folder, threads=1), choice, datetime.now(UTC))
