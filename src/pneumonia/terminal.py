"""How commands tell people what they refuse."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from pneumonia.errors import PneumoniaError


@contextmanager
def refusals_in_one_line() -> Iterator[None]:
    """Let a command end with the message of a PneumoniaError and status 1, without a traceback."""
    try:
        yield
    except PneumoniaError as error:
        raise click.ClickException(str(error)) from error
