"""Writes to the log of predictions behind the back of requests: a log that is busy or gone never spoils an answer."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Counter

from pneumonia.errors import MonitoringError
from pneumonia.monitoring.log import Label, Log
from pneumonia.monitoring.record import Record

WAITING = 1000
"""Entries that may wait for the log; more are given up, and counted."""

told = logging.getLogger(__name__)


class Logbook:
    """A log, and one thread that writes to it in the order of the calls."""

    def __init__(self, log: Log, failures: Counter) -> None:
        """Write to ``log``, and count in ``failures`` the entries that could not be written."""
        self._log = log
        self._failures = failures
        self._places = threading.BoundedSemaphore(WAITING)
        self._writer = ThreadPoolExecutor(1, "log")

    def note(self, records: list[Record]) -> None:
        """Write down predictions, soon."""
        self._soon(lambda: self._log.add(records), len(records))

    def label(self, label: Label) -> None:
        """Write down a verdict, soon."""
        self._soon(lambda: self._log.add_labels([label]), 1)

    def close(self) -> None:
        """Write what waits, and give the log back."""
        self._writer.shutdown()
        self._log.close()

    def _soon(self, write: Callable[[], None], entries: int) -> None:
        if not self._places.acquire(blocking=False):
            self._failures.inc(entries)
            return
        self._writer.submit(self._write, write, entries)

    def _write(self, write: Callable[[], None], entries: int) -> None:
        try:
            write()
        except MonitoringError as error:
            self._failures.inc(entries)
            told.error("log not written", exc_info=error)
        finally:
            self._places.release()
