"""Log the predictions of files; a log that cannot be written never stops a prediction."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from pneumonia.core.errors import MonitoringError
from pneumonia.inference.image_files import Examined
from pneumonia.monitoring.log import Log, default_url
from pneumonia.monitoring.record import ModelIdentity, RecordSource, record_from_file

LogPredictions = Callable[[Sequence[Examined], Sequence[UUID]], None]
"""Logs the predictions of a batch of files under their identifiers."""


@contextmanager
def open_log(model: ModelIdentity, url: str | None, source: RecordSource) -> Iterator[LogPredictions]:
    """Open the prediction log, and yield a function that logs a batch.

    If the log cannot be opened or written, a warning goes to stderr and nothing else happens.

    Args:
        model: the model that makes the predictions.
        url: SQLAlchemy URL of the log; an empty string for the default one, None to log nothing.
        source: what requested the predictions.
    """
    log = None
    if url is not None:
        try:
            log = Log(url or default_url())
        except MonitoringError as error:
            _warn(error)

    def log_predictions(batch: Sequence[Examined], ids: Sequence[UUID]) -> None:
        if log is None:
            return
        try:
            log.add(
                [
                    record_from_file(model, result, id=identifier, source=source)
                    for result, identifier in zip(batch, ids, strict=True)
                ]
            )
        except MonitoringError as error:
            _warn(error)

    try:
        yield log_predictions
    finally:
        if log is not None:
            log.close()


def _warn(error: MonitoringError) -> None:
    print(f"Warning: predictions are missing from the log: {error}", file=sys.stderr, flush=True)
