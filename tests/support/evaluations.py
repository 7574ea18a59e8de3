"""An evaluation report without an evaluation, for tests of code that only reads reports."""

from collections.abc import Mapping

from pneumonia.bundle.bundle import Card
from pneumonia.core.estimate import Estimate
from pneumonia.evaluation.evaluation_report import (
    BandEffect,
    BootstrapDescription,
    CalibrationEffect,
    CalibrationQuality,
    EvaluationReport,
    OperatingPoint,
    SubsetReport,
)


def evaluation_report(card: Card, images: Mapping[str, int], figures: Mapping[str, float]) -> EvaluationReport:
    """Return a report on the test images of a bundle.

    Args:
        card: of the bundle.
        images: number of images per class; the number of patients is the same.
        figures: metrics, without intervals.
    """
    quality = CalibrationQuality(loss=0.1, brier=0.1, ece=0.1, reliability=())
    estimates = {name: Estimate(value) for name, value in figures.items()}
    test = SubsetReport(
        images=dict(images),
        patients=dict(images),
        figures=estimates,
        calibration=CalibrationEffect(before=quality, after=quality),
        band=BandEffect(coverage=Estimate(1.0), figures=estimates),
        predictive_values={},
        slices={},
    )
    return EvaluationReport(
        model=card.name,
        bundle_sha256=card.sha256,
        bootstrap=BootstrapDescription(unit="patient", level=0.95, resamples=100, seed=1),
        operating_point=OperatingPoint(threshold=card.threshold, band=card.band),
        calibration=card.calibration,
        subsets={"test": test},
    )
