"""Typed reports of the stage *evaluate*: one evaluation report and one table of metrics per model."""

from collections.abc import Iterator, Mapping

from pydantic import ConfigDict, RootModel

from pneumonia.bundle.bundle import Band
from pneumonia.bundle.calibration import Calibration
from pneumonia.core.estimate import Estimate
from pneumonia.core.model import FrozenModel

ClassCounts = dict[str, int]
"""A number per class name (NORMAL, PNEUMONIA)."""

Figures = dict[str, Estimate]
"""Estimates by metric name, such as ``roc_auc``; undefined metrics are left out."""


class BootstrapDescription(FrozenModel):
    """How the intervals of a report were computed.

    Attributes:
        unit: what is resampled.
        level: confidence level of the intervals, 0 to 1.
        resamples: number of resamples.
        seed: of the random numbers.
    """

    unit: str
    level: float
    resamples: int
    seed: int


class OperatingPoint(FrozenModel):
    """Decision threshold and indeterminate band, as calibrated probabilities."""

    threshold: float
    band: Band


class ReliabilityBin(FrozenModel):
    """One bin of a reliability diagram.

    Attributes:
        lower: lower edge of the bin, a probability.
        upper: upper edge of the bin.
        images: number of images in the bin.
        probability: mean predicted probability of PNEUMONIA.
        share: observed share of PNEUMONIA.
    """

    lower: float
    upper: float
    images: int
    probability: float
    share: Estimate


class CalibrationQuality(FrozenModel):
    """How well probabilities agree with outcomes; lower is better.

    Attributes:
        loss: binary cross-entropy, in nats.
        brier: Brier score.
        ece: expected calibration error.
        reliability: one entry per bin with at least one image.
    """

    loss: float
    brier: float
    ece: float
    reliability: tuple[ReliabilityBin, ...]


class CalibrationEffect(FrozenModel):
    """Calibration quality of the uncalibrated and of the calibrated probabilities."""

    before: CalibrationQuality
    after: CalibrationQuality


class BandEffect(FrozenModel):
    """Effect of the indeterminate band.

    Attributes:
        coverage: share of the images outside the band.
        figures: metrics of the images outside the band; empty where there is none.
    """

    coverage: Estimate
    figures: Figures


class SliceReport(FrozenModel):
    """Metrics of a subgroup of the images.

    Attributes:
        images: images per class.
        patients: patients per class.
        warning: why the metrics are unreliable; None where there are enough patients.
        figures: the metrics.
    """

    images: ClassCounts
    patients: ClassCounts
    warning: str | None
    figures: Figures


class SubsetReport(FrozenModel):
    """Evaluation on one subset of the images.

    Attributes:
        images: images per class.
        patients: patients per class.
        figures: metrics at the operating point.
        calibration: calibration quality before and after calibration.
        band: effect of the indeterminate band.
        predictive_values: ``ppv`` and ``npv`` by prevalence.
        slices: by kind (``cause``, ``size``, ``acquisition``) and name.
    """

    images: ClassCounts
    patients: ClassCounts
    figures: Figures
    calibration: CalibrationEffect
    band: BandEffect
    predictive_values: dict[str, Figures]
    slices: dict[str, dict[str, SliceReport]]


class EvaluationReport(FrozenModel):
    """Evaluation of one model, reports/evaluation/<model>.json.

    Attributes:
        model: name of the model in params.yaml.
        bundle_sha256: identity of the evaluated bundle, `Card.sha256`.
        bootstrap: how the intervals were computed.
        operating_point: threshold and band, rounded.
        calibration: the bundle's calibration.
        subsets: by name (``validation``, ``aspect_swapped``, ``test``).
    """

    model: str
    bundle_sha256: str
    bootstrap: BootstrapDescription
    operating_point: OperatingPoint
    calibration: Calibration
    subsets: dict[str, SubsetReport]


class MetricsReport(RootModel[dict[str, dict[str, float]]]):
    """Metrics of one model by subset and metric name, unrounded: reports/metrics/<model>.json for `dvc metrics`."""

    model_config = ConfigDict(frozen=True)

    def __getitem__(self, subset: str) -> Mapping[str, float]:
        """Return the metrics of a subset."""
        return self.root[subset]

    def subsets(self) -> Iterator[tuple[str, Mapping[str, float]]]:
        """Yield name and metrics of each subset."""
        yield from self.root.items()
