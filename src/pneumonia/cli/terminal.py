"""Terminal output that all commands share: error messages and tables."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

from pneumonia.core.errors import PneumoniaError
from pneumonia.core.extras import report_missing_extras

UNLIMITED = 10_000
"""Width of a table that is not printed to a terminal: no cell is wrapped."""


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print the message of a `PneumoniaError` and exit with status 1, without a traceback.

    A missing optional dependency is such an error too: its message names the extra to install.
    """
    try:
        with report_missing_extras():
            yield
    except PneumoniaError as error:
        raise click.ClickException(str(error)) from error


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    header: bool = True,
    file: TextIO | None = None,
) -> None:
    """Print a table without borders; outside a terminal no cell is wrapped or shortened.

    Args:
        columns: names of the columns.
        rows: cells of each row.
        right: names of the columns that are aligned to the right.
        header: whether to print the names of the columns.
        file: text stream; by default stdout.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=file, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = UNLIMITED
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=header)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


class Commands(click.Group):
    """A group whose commands exit with a message where an optional dependency cannot be imported."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was requested."""
        with exit_on_error():
            return super().invoke(ctx)
