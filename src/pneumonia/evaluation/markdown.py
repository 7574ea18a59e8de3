"""Tables of figures in Markdown, the same on every page for readers."""

from collections.abc import Mapping
from typing import Any


def head(*cells: str) -> tuple[str, str]:
    """Return the two lines that a table starts with."""
    return row(*cells), row(*("---" for _ in cells))


def row(*cells: str) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def interval(figure: Mapping[str, Any], value: str = "value") -> str:
    """Write a figure with the ends of its interval where it has one."""
    ends = "" if figure["low"] is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
    return f"{figure[value]:.3f}{ends}"
