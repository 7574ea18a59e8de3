"""HTML page of a retraining report: one file that works offline, in light and dark mode, on paper and on a phone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pneumonia.monitoring.performance import Metric
from pneumonia.monitoring.periods import Period
from pneumonia.monitoring.retrain import RetrainingReport, enough_labels
from pneumonia.monitoring.settings import FeedbackParams

WIDTH, HEIGHT = 400, 220
"""Size of a chart in SVG units."""
LEFT, RIGHT, TOP, BOTTOM = 38, 392, 10, 186
FRAME = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "bottom": BOTTOM}
OFFSET = 5
"""Horizontal offset of estimated and measured values of one period, in SVG units."""
CHARTED = ("sensitivity", "specificity")
TICK_STEP = 0.1


@dataclass(frozen=True)
class ChartPoint:
    """A metric with its interval, in SVG units.

    Attributes:
        x: horizontal position.
        y: vertical position of the value.
        low: vertical position of the lower end of the interval.
        high: vertical position of the upper end of the interval.
        title: value and interval as text.
    """

    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True)
class Chart:
    """One metric over time, in SVG units.

    Attributes:
        name: name of the metric.
        measured: values by labels.
        estimated: values estimated without labels.
        ticks: vertical position and text of each tick.
        baseline: vertical position of the value before deployment.
        limit: vertical position of the lowest tolerated value.
    """

    name: str
    measured: tuple[ChartPoint, ...]
    estimated: tuple[ChartPoint, ...]
    ticks: tuple[tuple[float, str], ...]
    baseline: float
    limit: float


def render(report: RetrainingReport, params: FeedbackParams) -> str:
    """Return the page as HTML.

    Args:
        report: the report.
        params: limits that the report was made with.
    """
    environment = Environment(
        loader=PackageLoader("pneumonia.monitoring"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["metric"] = _text
    return environment.get_template("retrain.html").render(
        report=report,
        params=params,
        enough_labels=enough_labels(report.labels, params),
        charts=[_chart(report, name) for name in CHARTED],
        frame=FRAME,
    )


def _chart(report: RetrainingReport, name: str) -> Chart:
    limit = report.tests[name].limit
    shown = [metrics for period in report.periods for metrics in (period.measured, period.estimated)]
    lows = [metric.low for metrics in shown if (metric := metrics.get(name)) and metric.low is not None]
    bottom = math.floor(min([*lows, limit]) / TICK_STEP) * TICK_STEP

    def vertical(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - bottom) / (1 - bottom)

    def points(kind: str, offset: float) -> tuple[ChartPoint, ...]:
        metrics = ((x, getattr(period, kind).get(name)) for x, period in zip(positions, report.periods, strict=True))
        return tuple(
            ChartPoint(
                x + offset,
                vertical(metric.value),
                vertical(metric.low),
                vertical(metric.high),
                f"{kind}: {_text(metric)}",
            )
            for x, metric in metrics
            if metric
        )

    ticks = [bottom + TICK_STEP * step for step in range(round((1 - bottom) / TICK_STEP) + 1)]
    positions = _positions(report.periods)
    return Chart(
        name,
        measured=points("measured", OFFSET),
        estimated=points("estimated", -OFFSET),
        ticks=tuple((vertical(tick), f"{tick:.1f}") for tick in ticks),
        baseline=vertical(report.baseline.metrics[name]),
        limit=vertical(limit),
    )


def _positions(periods: Sequence[Period]) -> list[float]:
    step = (RIGHT - LEFT) / max(len(periods), 1)
    return [LEFT + step * (number + 0.5) for number in range(len(periods))]


def _text(metric: Metric) -> str:
    """Format a metric with its interval and the number of images, as in ``0.93 (0.89 to 0.96, n = 200)``."""
    ends = "" if metric.low is None or metric.high is None else f"{metric.low:z.2f} to {metric.high:z.2f}, "
    return f"{metric.value:z.2f} ({ends}n = {metric.images:,})"
