"""The model in use, and its replacement without a restart.

A background thread checks at intervals which bundle should be served. Another bundle is loaded while the current one
serves requests, and replaces it only if it loads and reproduces its golden answers.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pneumonia.bundle.bundle import CARD_FILE
from pneumonia.core.errors import PneumoniaError
from pneumonia.inference.runtime import Runtime
from pneumonia.registry.resolve import ResolvedBundle

RETRY_SECONDS = 300.0
"""Time after which a bundle that failed to load is tried again although it has not changed."""

log = logging.getLogger(__name__)
BundleState = tuple[ResolvedBundle, int]
"""A bundle and the modification time of its card."""


@dataclass(frozen=True)
class LoadedModel:
    """A loaded bundle.

    Attributes:
        runtime: inference with the bundle.
        source: the bundle and where it comes from.
        loaded: time of loading, in UTC.
    """

    runtime: Runtime
    source: ResolvedBundle
    loaded: datetime


@dataclass(frozen=True)
class LoadFailure:
    """A failed attempt to load a bundle.

    Attributes:
        state: the bundle; None if it could not be resolved.
        reason: message for people.
        time: monotonic time of the attempt, in seconds.
    """

    state: BundleState | None
    reason: str
    time: float


class ActiveModel:
    """Holds the model in use and replaces it when another bundle should be served."""

    def __init__(self, resolve: Callable[[], ResolvedBundle], on_change: Callable[["ActiveModel"], None]) -> None:
        """Load the first model.

        Args:
            resolve: returns the bundle that should be served.
            on_change: called after the first load, each replacement and each failed attempt.

        Raises:
            PneumoniaError: there is no bundle, or it fails to load.
        """
        self._resolve = resolve
        self._on_change = on_change
        source = resolve()
        self._state = _state_of(source)
        self._failure: LoadFailure | None = None
        self._stopped = threading.Event()
        self._model = _load(source)
        on_change(self)

    @property
    def model(self) -> LoadedModel:
        """The model in use; keep a reference while processing one image, because the next call may return another."""
        return self._model

    @property
    def failure(self) -> str | None:
        """Why a newer model failed to load; None if the model in use is the one that should be served."""
        return self._failure.reason if self._failure else None

    def start_polling(self, seconds: float) -> None:
        """Call `refresh` at intervals in a background thread, until `stop_polling`."""

        def run() -> None:
            while not self._stopped.wait(seconds):
                self.refresh()

        threading.Thread(target=run, name="model-poll", daemon=True).start()

    def stop_polling(self) -> None:
        """Stop the background thread."""
        self._stopped.set()

    def refresh(self) -> None:
        """Replace the model if another bundle should be served; on any error the current model stays in use."""
        state: BundleState | None = None
        try:
            source = self._resolve()
            state = _state_of(source)
            if state == self._state:
                self._set_failure(None)
            elif self._should_try(state):
                self._model, self._state = _load(source), state
                log.info("model replaced", extra={"origin": source.origin})
                self._set_failure(None, replaced=True)
        except Exception as error:  # a faulty bundle of any kind must not stop the service
            log.error("model not replaced", exc_info=error)
            reason = str(error) if isinstance(error, PneumoniaError) else f"it failed with {type(error).__name__}."
            self._set_failure(LoadFailure(state, reason, time.monotonic()))

    def _should_try(self, state: BundleState) -> bool:
        failed = self._failure
        return failed is None or failed.state != state or time.monotonic() - failed.time > RETRY_SECONDS

    def _set_failure(self, failure: LoadFailure | None, *, replaced: bool = False) -> None:
        changed = replaced or failure != self._failure
        self._failure = failure
        if changed:
            self._on_change(self)


def _state_of(source: ResolvedBundle) -> BundleState:
    """Return what changes when a folder gets another bundle: the card is written last."""
    card = source.folder / CARD_FILE
    return source, card.stat().st_mtime_ns if card.is_file() else 0


def _load(source: ResolvedBundle) -> LoadedModel:
    return LoadedModel(Runtime.load(source.folder, threads=1), source, datetime.now(UTC))
