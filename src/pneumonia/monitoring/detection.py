"""Drift detection: compare logged predictions with the reference profile of their model.

Each column has a distribution-free two-sample statistic: Anderson-Darling (Scholz and Stephens, K-sample
Anderson-Darling tests, JASA 82, 1987) on a grid of the reference's quantiles for numerical columns, Freeman-Tukey
(Freeman and Tukey, Transformations related to the angular and the square root, 1950) for categorical columns. Missing
values are a category, or the lowest bin, of their own.

The null distribution comes from a cluster bootstrap: pairs of samples as large as reference and window are drawn from
the reference, whole patients at a time, because images of one patient are correlated and a test that assumes
independence would raise too many false alarms. Each statistic is divided by the 95th percentile of its null
distribution, and the largest one over all columns is compared with the largest ones of the draws (Westfall and Young,
Resampling-based multiple testing, 1993). The false alarm rate therefore holds for the report as a whole, whatever the
number of columns and their correlation.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from pneumonia.core.errors import MonitoringError
from pneumonia.core.model import FrozenModel
from pneumonia.monitoring.record import COMPONENTS
from pneumonia.monitoring.settings import MonitorParams

DISTANCE = "embedding_distance"
"""Squared norm of the embedding's components. They are whitened on the training images, so that its mean is about
their number."""
CATEGORIES = ("status", "refusal", "decision", "format", "mode", "maker", "view")
NUMERICAL = (
    *("probability", "familiarity"),
    *("width", "height", "aspect", "jpeg_quality"),
    *("brightness", "contrast", "clipped_dark", "clipped_bright", "sharpness"),
    *COMPONENTS,
)
LOGGED = CATEGORIES + NUMERICAL
"""Columns of the prediction log that are compared."""
COMPARED = (*LOGGED, DISTANCE)
PATIENT = "patient"
"""Column of the reference profile with a number for each patient."""

QUANTILES = 24
MINIMUM_SHARE = 0.01
"""Categories with a smaller share in the reference are merged with those that the reference lacks."""
PERCENTILE = 0.95
ANDERSON_DARLING = 2.492
"""95th percentile for independent images (Scholz and Stephens, 1987, table 1), the lower limit of a scale."""

Counts = NDArray[np.float32]


class ColumnDrift(FrozenModel):
    """The drift of one column.

    Attributes:
        column: name of the column.
        distance: Kolmogorov-Smirnov distance of a numerical column, total variation distance of a categorical one;
            0 to 1.
        p_value: adjusted for all columns: how often the largest statistic of a report would be at least as large
            without drift.
        changed: whether ``p_value`` is at most the false alarm rate.
    """

    column: str
    distance: float
    p_value: float
    changed: bool


@dataclass(frozen=True)
class DriftTest:
    """The result of comparing a window with a reference profile.

    Attributes:
        images: predictions in the window.
        reference_images: images in the reference profile.
        false_alarm_rate: significance level of the report.
        columns: result of each column, the largest scaled statistic first.
    """

    images: int
    reference_images: int
    false_alarm_rate: float
    columns: tuple[ColumnDrift, ...]

    @property
    def alert(self) -> bool:
        """Whether any column has changed."""
        return bool(self.changed)

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the columns that have changed."""
        return tuple(column.column for column in self.columns if column.changed)


def detect_drift(reference: pd.DataFrame, window: pd.DataFrame, params: MonitorParams) -> DriftTest:
    """Test whether logged predictions differ from a reference profile.

    Args:
        reference: columns `LOGGED` and `PATIENT`, one row per image.
        window: columns `LOGGED`, one row per prediction.
        params: false alarm rate, number of resamples and seed.

    Raises:
        MonitoringError: the window has fewer than ``params.minimum_images`` predictions.
    """
    if len(window) < params.minimum_images:
        raise MonitoringError(
            f"expected at least {params.minimum_images} predictions of the model in the window, found {len(window)}. "
            "Wait for more predictions, or choose a longer window (--window, --since)."
        )
    reference, window = with_distance(reference), with_distance(window)
    grids = [_Grid.of(reference[column]) for column in COMPARED]
    patients, patient = np.unique(reference[PATIENT].to_numpy(), return_inverse=True)
    rng = np.random.default_rng(params.seed)
    uniform = np.full(len(patients), 1 / len(patients))
    window_patients = max(1, round(len(window) * len(patients) / len(reference)))
    drawn_reference = rng.multinomial(len(patients), uniform, params.resamples).astype(np.float32)
    drawn_window = rng.multinomial(window_patients, uniform, params.resamples).astype(np.float32)
    scaled, null_scaled, distances = [], [], []
    for column, grid in zip(COMPARED, grids, strict=True):
        by_patient = grid.counts(reference[column], patient, len(patients))
        reference_counts, window_counts = by_patient.sum(axis=0, keepdims=True), grid.counts(window[column])
        null = grid.statistic(drawn_reference @ by_patient, drawn_window @ by_patient)
        scale = max(float(np.quantile(null, PERCENTILE)), grid.minimum_scale)
        scaled.append(float(grid.statistic(reference_counts, window_counts)[0]) / scale)
        null_scaled.append(null / scale)
        distances.append(grid.distance(reference_counts[0], window_counts[0]))
    largest = np.sort(np.max(null_scaled, axis=0))
    at_least_as_large = len(largest) - np.searchsorted(largest, scaled)
    p_values = (1 + at_least_as_large) / (1 + len(largest))
    order = np.argsort(scaled)[::-1]
    columns = tuple(
        ColumnDrift(
            column=COMPARED[i],
            distance=distances[i],
            p_value=float(p_values[i]),
            changed=bool(p_values[i] <= params.false_alarm_rate),
        )
        for i in order
    )
    return DriftTest(len(window), len(reference), params.false_alarm_rate, columns)


def with_distance(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the column `DISTANCE`, NaN where there is no embedding.

    Examples:
        >>> row = dict.fromkeys(COMPONENTS, float("nan")) | {"component_0": 3.0, "component_1": 4.0}
        >>> float(with_distance(pd.DataFrame([row]))[DISTANCE].iloc[0])
        25.0
    """
    components = frame[list(COMPONENTS)].to_numpy(np.float64)
    squares = np.where(np.isnan(components).all(axis=1), np.nan, np.nansum(components**2, axis=1))
    return frame.assign(**{DISTANCE: squares})


@dataclass(frozen=True, eq=False)
class _Grid:
    """The bins of one column.

    Attributes:
        edges: of a numerical column, whose bins lie between the edges and at each edge; None of a categorical one.
        categories: of a categorical column, each a bin; one more bin holds all other categories.
    """

    edges: NDArray[np.float64] | None
    categories: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: pd.Series) -> "_Grid":
        if values.name in CATEGORIES:
            shares = _category_names(values).value_counts(normalize=True)
            return cls(None, tuple(sorted(shares.index[shares >= MINIMUM_SHARE])))
        present = values.dropna().to_numpy(np.float64)
        if not len(present):
            return cls(np.empty(0))
        return cls(np.unique(np.quantile(present, np.linspace(0, 1, QUANTILES + 1), method="nearest")))

    @property
    def bins(self) -> int:
        return len(self.categories) + 1 if self.edges is None else 2 * len(self.edges) + 2

    @property
    def minimum_scale(self) -> float:
        if self.edges is not None:
            return ANDERSON_DARLING
        return float(chi2.ppf(PERCENTILE, max(1, len(self.categories) - 1)))

    def counts(self, values: pd.Series, patient: NDArray[np.intp] | None = None, patients: int = 1) -> Counts:
        """Count values per patient and bin.

        Args:
            values: shape (N,).
            patient: number of each value's patient, shape (N,); None counts all values together.
            patients: number of patients.

        Returns:
            Shape (patients, bins).
        """
        bins = self._bins_of(values) + (0 if patient is None else patient * self.bins)
        return np.bincount(bins, minlength=patients * self.bins).reshape(patients, self.bins).astype(np.float32)

    def statistic(self, a: Counts, b: Counts) -> NDArray[np.float64]:
        """Return the two-sample statistic, shape (B,), of pairs of counts, shape (B, bins)."""
        n, m = a.sum(axis=1, dtype=np.float64), b.sum(axis=1, dtype=np.float64)
        size = n * m / (n + m)
        p, q = a / n[:, None], b / m[:, None]
        if self.edges is None:
            return np.asarray(4 * size * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=1))
        pooled = (a + b) / (n + m)[:, None]
        below = np.cumsum(pooled, axis=1)
        squared_difference = np.cumsum(p - q, axis=1) ** 2
        inside = (below > 1e-9) & (below < 1 - 1e-9)
        weight = np.divide(pooled, below * (1 - below), out=np.zeros_like(below), where=inside)
        return np.asarray(size * (squared_difference * weight).sum(axis=1))

    def distance(self, a: Counts, b: Counts) -> float:
        """Return the distance, 0 to 1, of two counts, shape (bins,); see `ColumnDrift`."""
        difference = a / a.sum() - b / b.sum()
        return float(np.abs(difference).sum() / 2 if self.edges is None else np.abs(np.cumsum(difference)).max())

    def _bins_of(self, values: pd.Series) -> NDArray[np.intp]:
        if self.edges is None:
            codes = pd.Index(self.categories, dtype="str").get_indexer(pd.Index(_category_names(values)))
            return np.where(codes < 0, len(self.categories), codes).astype(np.intp)
        numbers = values.to_numpy(np.float64)
        between_and_at = np.searchsorted(self.edges, numbers, "left") + np.searchsorted(self.edges, numbers, "right")
        return np.where(np.isnan(numbers), 0, between_and_at + 1).astype(np.intp)


def _category_names(values: pd.Series) -> pd.Series:
    return values.astype("str").fillna("none")
