"""Evaluate one model: metrics with intervals, calibration, indeterminate band, predictive values and slices."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics as sk

from pneumonia.bundle.bundle import Band, Card
from pneumonia.bundle.calibration import Calibration
from pneumonia.core import labels
from pneumonia.core.estimate import DECIMALS, Estimate
from pneumonia.evaluation import calibration_error, metrics, slices
from pneumonia.evaluation.evaluation_report import (
    BandEffect,
    BootstrapDescription,
    CalibrationEffect,
    CalibrationQuality,
    ClassCounts,
    EvaluationReport,
    Figures,
    MetricsReport,
    OperatingPoint,
    ReliabilityBin,
    SliceReport,
    SubsetReport,
)
from pneumonia.evaluation.figures import Scores
from pneumonia.evaluation.intervals import LEVEL, Share, binary_figures, estimate
from pneumonia.evaluation.predictive_values import predictive_values
from pneumonia.evaluation.settings import BootstrapParams, EvaluateParams

HEADLINE_METRICS = ("roc_auc", "accuracy", "sensitivity", "specificity")


@dataclass(frozen=True)
class ScoredImages:
    """Images of one subset with the logits of one model.

    Attributes:
        logits: network outputs before calibration, shape (N,).
        targets: classes, 0 or 1, shape (N,).
        groups: patient of each image, shape (N,).
        causes: of `labels.CAUSES`, shape (N,).
        metadata: N rows of `data.header_metadata.header_metadata`, indexed by path.
    """

    logits: NDArray[np.float64]
    targets: NDArray[np.integer]
    groups: NDArray[np.integer]
    causes: NDArray[np.str_]
    metadata: pd.DataFrame

    @classmethod
    def of(cls, index: pd.DataFrame, logits: NDArray[np.float64], metadata: pd.DataFrame) -> "ScoredImages":
        """Combine rows of splits.parquet, their logits (N,), and header metadata that include their paths."""
        return cls(
            logits,
            index["label"].map(labels.target).to_numpy(int),
            index["group"].to_numpy(),
            index["cause"].to_numpy(str),
            metadata.loc[index["path"]],
        )

    def where(self, mask: NDArray[np.bool_]) -> "ScoredImages":
        """Return the images that a mask (N,) selects."""
        return ScoredImages(
            self.logits[mask], self.targets[mask], self.groups[mask], self.causes[mask], self.metadata[mask]
        )

    def scores(self, card: Card) -> Scores:
        """Return calibrated probabilities and decisions at the operating point of a card."""
        return Scores.at(self.targets, card.calibration.probabilities(self.logits), card.threshold)


def evaluate(
    card: Card, subsets: Mapping[str, ScoredImages], size_cuts: tuple[float, float], params: EvaluateParams
) -> EvaluationReport:
    """Return the evaluation report of a model.

    Args:
        card: of the model's bundle; provides calibration, operating point and band.
        subsets: the scored images by name of the subset.
        size_cuts: megapixels between small, medium and large images; see `slices.size_cuts`.
        params: resamples, prevalences and the smallest slice.
    """
    band = Band(low=round(card.band.low, DECIMALS), high=round(card.band.high, DECIMALS))
    return EvaluationReport(
        model=card.name,
        bundle_sha256=card.sha256,
        bootstrap=BootstrapDescription(
            unit="patient", level=LEVEL, resamples=params.bootstrap.resamples, seed=params.bootstrap.seed
        ),
        operating_point=OperatingPoint(threshold=round(card.threshold, DECIMALS), band=band),
        calibration=card.calibration,
        subsets={name: _evaluate_subset(card, images, size_cuts, params) for name, images in subsets.items()},
    )


def measure(card: Card, subsets: Mapping[str, ScoredImages]) -> MetricsReport:
    """Return the metrics of a model by subset, without intervals and unrounded; see `metrics.binary_metrics`."""
    return MetricsReport(
        {
            name: metrics.binary_metrics(images.targets, card.calibration.probabilities(images.logits), card.threshold)
            for name, images in subsets.items()
        }
    )


def headlines(reports: Mapping[str, EvaluationReport]) -> str:
    """Return a text table of the main metrics and the coverage, one row per model and subset."""
    rows = {
        (name, subset): {metric: str(part.figures[metric]) for metric in HEADLINE_METRICS}
        | {"answered": str(part.band.coverage)}
        for name, report in reports.items()
        for subset, part in report.subsets.items()
    }
    return pd.DataFrame(rows).T.to_string()


def _evaluate_subset(
    card: Card, images: ScoredImages, size_cuts: tuple[float, float], params: EvaluateParams
) -> SubsetReport:
    called = card.calibration.probabilities(images.logits) >= card.threshold
    at_prevalence = predictive_values(images.targets, called, images.groups, params.prevalences, params.bootstrap)
    masks = slices.slices(images.targets, images.causes, images.metadata, size_cuts)
    return SubsetReport(
        images=_count_images(images),
        patients=slices.patients(images.targets, images.groups),
        figures=_figures(card, images, params.bootstrap),
        calibration=CalibrationEffect(
            before=_calibration_quality(Calibration(), images, params.bootstrap),
            after=_calibration_quality(card.calibration, images, params.bootstrap),
        ),
        band=_band_effect(card, images, params.bootstrap),
        predictive_values={str(prevalence): _rounded(values) for prevalence, values in at_prevalence.items()},
        slices={
            kind: {name: _evaluate_slice(card, images.where(mask), params) for name, mask in by_name.items()}
            for kind, by_name in masks.items()
        },
    )


def _count_images(images: ScoredImages) -> ClassCounts:
    return dict(zip(labels.CLASS_NAMES, np.bincount(images.targets, minlength=2).tolist(), strict=True))


def _figures(card: Card, images: ScoredImages, bootstrap: BootstrapParams) -> Figures:
    probabilities = card.calibration.probabilities(images.logits)
    return _rounded(binary_figures(images.targets, probabilities, card.threshold, images.groups, bootstrap))


def _calibration_quality(
    calibration: Calibration, images: ScoredImages, bootstrap: BootstrapParams
) -> CalibrationQuality:
    probabilities = calibration.probabilities(images.logits)
    return CalibrationQuality(
        loss=round(float(sk.log_loss(images.targets, probabilities, labels=[0, 1])), DECIMALS),
        brier=round(float(np.mean((probabilities - images.targets) ** 2)), DECIMALS),
        ece=round(calibration_error.calibration_error(images.targets, probabilities), DECIMALS),
        reliability=_reliability(probabilities, images, bootstrap),
    )


def _reliability(
    probabilities: NDArray[np.float64], images: ScoredImages, bootstrap: BootstrapParams
) -> tuple[ReliabilityBin, ...]:
    count = calibration_error.BINS
    member = calibration_error.bins(probabilities)
    shares = estimate(
        {str(b): Share(images.targets == 1, member == b) for b in range(count)}, images.groups, bootstrap
    )
    return tuple(
        ReliabilityBin(
            lower=b / count,
            upper=(b + 1) / count,
            images=int((member == b).sum()),
            probability=round(float(probabilities[member == b].mean()), DECIMALS),
            share=shares[str(b)].rounded(),
        )
        for b in range(count)
        if str(b) in shares
    )


def _band_effect(card: Card, images: ScoredImages, bootstrap: BootstrapParams) -> BandEffect:
    outside = ~card.band.holds(card.calibration.probabilities(images.logits))
    coverage = estimate({"coverage": Share(outside, np.ones_like(outside))}, images.groups, bootstrap)["coverage"]
    return BandEffect(
        coverage=coverage.rounded(),
        figures=_figures(card, images.where(outside), bootstrap) if outside.any() else {},
    )


def _evaluate_slice(card: Card, images: ScoredImages, params: EvaluateParams) -> SliceReport:
    patients = slices.patients(images.targets, images.groups)
    return SliceReport(
        images=_count_images(images),
        patients=patients,
        warning=slices.warning(patients, params.minimum_slice),
        figures=_figures(card, images, params.bootstrap),
    )


def _rounded(figures: Mapping[str, Estimate]) -> Figures:
    return {name: figure.rounded() for name, figure in figures.items()}
