"""Markdown tables, in one format for all generated pages."""

from pneumonia.core.estimate import Estimate


def head(*cells: str) -> tuple[str, str]:
    """Return the header row of a table and the separator row below it."""
    return row(*cells), row(*("---" for _ in cells))


def row(*cells: str) -> str:
    """Return one row of a table.

    Examples:
        >>> row("accuracy", "0.950")
        '| accuracy | 0.950 |'
    """
    return f"| {' | '.join(cells)} |"


def interval(estimate: Estimate) -> str:
    """Return a figure with three decimals, followed by its interval where it is defined.

    Examples:
        >>> interval(Estimate(0.976, 0.964, 0.986))
        '0.976 (0.964 to 0.986)'
    """
    ends = "" if estimate.low is None else f" ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.value:.3f}{ends}"
