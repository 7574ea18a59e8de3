"""Has anything changed? Logged predictions against the profile of the images that a model was made with.

Every column gets a statistic that needs no assumption about its distribution: Anderson-Darling for two samples
(Scholz & Stephens, K-sample Anderson-Darling tests, JASA 1987) on a grid of the reference's quantiles where values are
ordered, Freeman-Tukey (Freeman & Tukey, Transformations related to the angular and the square root, 1950) where they
are categories. A missing value is a value like another.

What a statistic may reach where nothing has changed is found by drawing two samples, as large as reference and window,
from the reference, whole patients at a time: images of one patient are alike, and a test that took them for
independent would cry wolf. The largest of all columns' statistics, each on the scale of its own 95th percentile, is
held against the largest ones of these draws (Westfall & Young, Resampling-based multiple testing, 1993), so that the
rate of false alarms is that of the whole report, however many columns it has and however they hang together.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from pneumonia.config import MonitorParams
from pneumonia.errors import MonitoringError
from pneumonia.monitoring.record import COMPONENTS

DISTANCE = "embedding_distance"
"""Squared length of the embedding's components: whitened on the training images, so that it is about their number."""
CATEGORIES = ("status", "refusal", "decision", "format", "mode", "maker", "view")
ORDERED = (
    *("probability", "familiarity"),
    *("width", "height", "aspect", "jpeg_quality"),
    *("brightness", "contrast", "clipped_dark", "clipped_bright", "sharpness"),
    *COMPONENTS,
)
LOGGED = CATEGORIES + ORDERED
"""Columns of the log that are looked at."""
WATCHED = (*LOGGED, DISTANCE)
PATIENT = "patient"
"""Column of the reference: a number for each patient."""

QUANTILES = 24
RARE = 0.01
"""Categories of a smaller share in the reference are one, together with those that it lacks."""
PERCENTILE = 0.95
ANDERSON_DARLING = 2.492
"""Its 95th percentile for independent images (Scholz & Stephens, 1987, table 1); no scale is finer than this."""

Counts = NDArray[np.float32]


@dataclass(frozen=True)
class ColumnChange:
    """What became of one column.

    Attributes:
        column: its name.
        distance: the largest difference between the two cumulative shares where values are ordered, half the sum of
            the differences between the shares of categories otherwise; 0 to 1.
        p_value: of the whole report's test: how often the largest statistic of all columns would be as large as
            this one, had nothing changed.
        changed: whether that is rare enough for an alarm.
    """

    column: str
    distance: float
    p_value: float
    changed: bool


@dataclass(frozen=True)
class Comparison:
    """A window against its reference.

    Attributes:
        images: predictions in the window.
        reference_images: in the reference.
        false_alarm_rate: at which the decision was made.
        columns: what became of each column, the most surprising first.
    """

    images: int
    reference_images: int
    false_alarm_rate: float
    columns: tuple[ColumnChange, ...]

    @property
    def alert(self) -> bool:
        """Whether something has changed."""
        return bool(self.changed)

    @property
    def changed(self) -> tuple[str, ...]:
        """The columns that have changed."""
        return tuple(column.column for column in self.columns if column.changed)


def compare(reference: pd.DataFrame, window: pd.DataFrame, params: MonitorParams) -> Comparison:
    """Compare logged predictions with a reference.

    Args:
        reference: columns `LOGGED` and `PATIENT`, a row per image.
        window: columns `LOGGED`, a row per prediction.
        params: rate of false alarms, draws and seed.

    Raises:
        MonitoringError: the window has too few predictions.
    """
    if len(window) < params.minimum_images:
        raise MonitoringError(
            f"expected at least {params.minimum_images} predictions of the model in the window, found {len(window)}. "
            "Wait for more, or look further back (--window, --since)."
        )
    reference, window = with_distance(reference), with_distance(window)
    grids = [_Grid.of(reference[column]) for column in WATCHED]
    patients, patient = np.unique(reference[PATIENT].to_numpy(), return_inverse=True)
    rng = np.random.default_rng(params.seed)
    fair = np.full(len(patients), 1 / len(patients))
    alike = max(1, round(len(window) * len(patients) / len(reference)))  # patients of a window as large as this
    drawn_reference = rng.multinomial(len(patients), fair, params.resamples).astype(np.float32)
    drawn_window = rng.multinomial(alike, fair, params.resamples).astype(np.float32)
    ratios, null_ratios, distances = [], [], []
    for column, grid in zip(WATCHED, grids, strict=True):
        by_patient = grid.counts(reference[column], patient, len(patients))
        known, seen = by_patient.sum(axis=0, keepdims=True), grid.counts(window[column])
        null = grid.statistic(drawn_reference @ by_patient, drawn_window @ by_patient)
        scale = max(float(np.quantile(null, PERCENTILE)), grid.finest_scale)
        ratios.append(float(grid.statistic(known, seen)[0]) / scale)
        null_ratios.append(null / scale)
        distances.append(grid.distance(known[0], seen[0]))
    largest = np.sort(np.max(null_ratios, axis=0))
    as_large = len(largest) - np.searchsorted(largest, ratios)
    p_values = (1 + as_large) / (1 + len(largest))
    order = np.argsort(ratios)[::-1]
    columns = tuple(
        ColumnChange(WATCHED[i], distances[i], float(p_values[i]), bool(p_values[i] <= params.false_alarm_rate))
        for i in order
    )
    return Comparison(len(window), len(reference), params.false_alarm_rate, columns)


def with_distance(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `DISTANCE`, missing where there is no embedding."""
    components = frame[list(COMPONENTS)].to_numpy(np.float64)
    squares = np.where(np.isnan(components).all(axis=1), np.nan, np.nansum(components**2, axis=1))
    return frame.assign(**{DISTANCE: squares})


@dataclass(frozen=True, eq=False)
class _Grid:
    """The bins of one column: ordered ones between and at ``edges``, or ``categories`` and one for all others."""

    edges: NDArray[np.float64] | None
    categories: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: pd.Series) -> "_Grid":
        if values.name in CATEGORIES:
            shares = _words(values).value_counts(normalize=True)
            return cls(None, tuple(sorted(shares.index[shares >= RARE])))
        known = values.dropna().to_numpy(np.float64)
        if not len(known):
            return cls(np.empty(0))
        return cls(np.unique(np.quantile(known, np.linspace(0, 1, QUANTILES + 1), method="nearest")))

    @property
    def bins(self) -> int:
        return len(self.categories) + 1 if self.edges is None else 2 * len(self.edges) + 2

    @property
    def finest_scale(self) -> float:
        if self.edges is not None:
            return ANDERSON_DARLING
        return float(chi2.ppf(PERCENTILE, max(1, len(self.categories) - 1)))

    def counts(self, values: pd.Series, patient: NDArray[np.intp] | None = None, patients: int = 1) -> Counts:
        """Count values (N,) into (patients, bins); ``patient`` (N,) says whose each is, None that all are one's."""
        places = self._places(values) + (0 if patient is None else patient * self.bins)
        return np.bincount(places, minlength=patients * self.bins).reshape(patients, self.bins).astype(np.float32)

    def statistic(self, a: Counts, b: Counts) -> NDArray[np.float64]:
        """Return the statistic (B,) of pairs of counts (B, bins)."""
        n, m = a.sum(axis=1, dtype=np.float64), b.sum(axis=1, dtype=np.float64)
        size = n * m / (n + m)
        p, q = a / n[:, None], b / m[:, None]
        if self.edges is None:
            return np.asarray(4 * size * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=1))
        pooled = (a + b) / (n + m)[:, None]
        below = np.cumsum(pooled, axis=1)
        gap = np.cumsum(p - q, axis=1) ** 2
        inside = (below > 1e-9) & (below < 1 - 1e-9)
        weight = np.divide(pooled, below * (1 - below), out=np.zeros_like(below), where=inside)
        return np.asarray(size * (gap * weight).sum(axis=1))

    def distance(self, a: Counts, b: Counts) -> float:
        """Return how far apart two counts (bins,) are, 0 to 1; see `ColumnChange`."""
        gap = a / a.sum() - b / b.sum()
        return float(np.abs(gap).sum() / 2 if self.edges is None else np.abs(np.cumsum(gap)).max())

    def _places(self, values: pd.Series) -> NDArray[np.intp]:
        if self.edges is None:
            codes = pd.Index(self.categories, dtype="str").get_indexer(pd.Index(_words(values)))
            return np.where(codes < 0, len(self.categories), codes).astype(np.intp)
        numbers = values.to_numpy(np.float64)
        between_and_at = np.searchsorted(self.edges, numbers, "left") + np.searchsorted(self.edges, numbers, "right")
        return np.where(np.isnan(numbers), 0, between_and_at + 1).astype(np.intp)


def _words(values: pd.Series) -> pd.Series:
    return values.astype("str").fillna("none")
