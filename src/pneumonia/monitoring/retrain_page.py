"""The page "Retrain?": one HTML file that needs nothing else, in light and dark, on paper and on a phone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pneumonia.monitoring.performance import Figure
from pneumonia.monitoring.periods import Period
from pneumonia.monitoring.retrain import Assessment

WIDTH, HEIGHT = 400, 220
"""Of a chart, in its own units; it is drawn as wide as there is room."""
LEFT, RIGHT, TOP, BOTTOM = 38, 392, 10, 186
FRAME = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "bottom": BOTTOM}
APART = 5
"""Between what was estimated and what was measured for one period."""
DRAWN = ("sensitivity", "specificity")
TICKS = 0.1


@dataclass(frozen=True)
class Mark:
    """A figure with its interval, in the units of a chart."""

    x: float
    y: float
    low: float
    high: float
    words: str


@dataclass(frozen=True)
class Chart:
    """One figure over time; places of ticks, reference and limit are distances from the top."""

    name: str
    measured: tuple[Mark, ...]
    estimated: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    reference: float
    limit: float


def render(assessment: Assessment) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=PackageLoader("pneumonia.monitoring"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _words
    page = environment.get_template("retrain.html")
    return page.render(at=assessment, charts=[_chart(assessment, name) for name in DRAWN], frame=FRAME)


def _chart(assessment: Assessment, name: str) -> Chart:
    reference = assessment.reference.figures[name]
    limit = assessment.evidence[name].limit
    shown = [figures for period in assessment.periods for figures in (period.measured, period.estimated)]
    lows = [figure.low for figures in shown if (figure := figures.get(name)) and figure.low is not None]
    bottom = math.floor(min([*lows, limit]) / TICKS) * TICKS

    def down(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - bottom) / (1 - bottom)

    ticks = [bottom + TICKS * step for step in range(round((1 - bottom) / TICKS) + 1)]
    places = _places(assessment.periods)

    def marks(kind: str, shift: float) -> tuple[Mark, ...]:
        found = ((x, getattr(period, kind).get(name)) for x, period in zip(places, assessment.periods, strict=True))
        return tuple(
            Mark(x + shift, down(said.value), down(said.low), down(said.high), f"{kind}: {_words(said)}")
            for x, said in found
            if said
        )

    return Chart(
        name,
        measured=marks("measured", APART),
        estimated=marks("estimated", -APART),
        ticks=tuple((down(tick), f"{tick:.1f}") for tick in ticks),
        reference=down(reference),
        limit=down(limit),
    )


def _places(periods: Sequence[Period]) -> list[float]:
    step = (RIGHT - LEFT) / max(len(periods), 1)
    return [LEFT + step * (number + 0.5) for number in range(len(periods))]


def _words(figure: Figure) -> str:
    """Write a figure with its interval and the number of images, as in ``0.93 (0.89 to 0.96, n = 200)``."""
    ends = "" if figure.low is None or figure.high is None else f"{figure.low:z.2f} to {figure.high:z.2f}, "
    return f"{figure.value:z.2f} ({ends}n = {figure.images:,})"
