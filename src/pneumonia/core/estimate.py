"""A figure with its 95% interval, as reports store it."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

DECIMALS = 6
"""Decimals of the figures in reports."""


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95% interval; both ends are None where the interval is undefined.

    Examples:
        >>> str(Estimate(0.976, 0.964, 0.986))
        '0.976 (0.964-0.986)'
    """

    value: float
    low: float | None = None
    high: float | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends of the interval; the value itself where the interval is undefined."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high

    def rounded(self) -> "Estimate":
        """Return the estimate with all numbers rounded to `DECIMALS` decimals."""
        return Estimate(
            round(self.value, DECIMALS),
            None if self.low is None else round(self.low, DECIMALS),
            None if self.high is None else round(self.high, DECIMALS),
        )

    def __str__(self) -> str:
        """Format as in ``0.976 (0.964-0.986)``."""
        return f"{self.value:.3f}" + ("" if self.low is None else f" ({self.low:.3f}-{self.high:.3f})")
