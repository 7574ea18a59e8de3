"""Asynchronous writes to the prediction log, off the request path: a slow or broken log never delays a response."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Counter

from pneumonia.core.errors import MonitoringError
from pneumonia.monitoring.log import Label, Log
from pneumonia.monitoring.record import PredictionRecord

MAXIMUM_PENDING = 1000
"""Writes that may be pending; more are dropped and counted."""

logger = logging.getLogger(__name__)


class PredictionLogWriter:
    """Writes to a prediction log from one background thread, in the order of the calls."""

    def __init__(self, log: Log, failures: Counter) -> None:
        """Start the writer.

        Args:
            log: log to write to; closed by `close`.
            failures: counts the entries that could not be written.
        """
        self._log = log
        self._failures = failures
        self._pending = threading.BoundedSemaphore(MAXIMUM_PENDING)
        self._writer = ThreadPoolExecutor(1, "log-writer")

    def add_records(self, records: list[PredictionRecord]) -> None:
        """Schedule a write of predictions."""
        self._schedule(lambda: self._log.add(records), len(records))

    def add_label(self, label: Label) -> None:
        """Schedule a write of a reader's assessment."""
        self._schedule(lambda: self._log.add_labels([label]), 1)

    def close(self) -> None:
        """Finish the pending writes and close the log."""
        self._writer.shutdown()
        self._log.close()

    def _schedule(self, write: Callable[[], None], entries: int) -> None:
        if not self._pending.acquire(blocking=False):
            self._failures.inc(entries)
            return
        self._writer.submit(self._write, write, entries)

    def _write(self, write: Callable[[], None], entries: int) -> None:
        try:
            write()
        except MonitoringError as error:
            self._failures.inc(entries)
            logger.error("prediction log not written", exc_info=error)
        finally:
            self._pending.release()
