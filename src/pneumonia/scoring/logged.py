"""Predictions of files into the log that monitoring reads; a log that fails never spoils an answer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import click

from pneumonia.errors import MonitoringError
from pneumonia.inference.files import Examined
from pneumonia.monitoring.log import Log, default_url
from pneumonia.monitoring.record import Answering, Origin, record_of

Note = Callable[[Sequence[Examined], Sequence[UUID]], None]


@contextmanager
def open_log(answering: Answering, url: str | None, source: Origin) -> Iterator[Note]:
    """Yield what notes a batch of files under their ids.

    Args:
        answering: the model.
        url: of the log; empty for the one of this folder, None for none at all.
        source: who asks.
    """
    try:
        log = None if url is None else Log(url or default_url())
    except MonitoringError as error:
        _warn(error)
        log = None

    def note(batch: Sequence[Examined], ids: Sequence[UUID]) -> None:
        if log is None:
            return
        try:
            named = zip(batch, ids, strict=True)
            log.add([record_of(answering, each, id=number, source=source) for each, number in named])
        except MonitoringError as error:
            _warn(error)

    try:
        yield note
    finally:
        if log is not None:
            log.close()


def _warn(error: MonitoringError) -> None:
    click.echo(f"Warning: these predictions are missing from the log: {error}", err=True)
