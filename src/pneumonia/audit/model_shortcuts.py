"""Audit a model for shortcuts: does it still separate the classes where file properties do not help?

Three questions: how well do the scores separate images whose files match in one property; how strongly are the
scores correlated with a file property within a class, where the diagnosis does not explain it; and what happens when
the same image is recompressed, resized, blurred or sharpened. The burden of proof is on the model: the unfavourable
end of each 95% interval must be within the limit. A model passes only if it passes all criteria, so the intervals need
no correction for multiple testing (intersection-union test; Berger, Technometrics 24, 1982).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.audit.audit_report import (
    AuditLimits,
    CorrelationAudit,
    MatchedAudit,
    ModelAudit,
    Outcome,
    PerturbationAudit,
)
from pneumonia.audit.covariate_statistics import matched_auc, rank_correlation
from pneumonia.audit.data_shortcuts import numeric
from pneumonia.audit.perturbations import PERTURBATIONS, perturb
from pneumonia.audit.settings import AuditParams
from pneumonia.core.labels import CLASS_NAMES, target
from pneumonia.evaluation import intervals
from pneumonia.evaluation.settings import BootstrapParams

Array = NDArray[np.float64]
Scorer = Callable[[NDArray[np.uint8]], tuple[Array, Array]]
"""Maps images (N, size, size) to logits (N,) and calibrated probabilities (N,)."""

CRITERIA_PROPERTIES = ("width", "aspect", "jpeg_quality")
"""Properties with a criterion. The others of `CORRELATED_PROPERTIES` are reported only: megapixels follow from width
and aspect, bytes depend on the content."""

CORRELATED_PROPERTIES = (*CRITERIA_PROPERTIES, "megapixels", "bytes_per_megapixel")

MILD = ("jpeg_50", "half_size", "blur", "sharpen")
"""Perturbations with a criterion: those that files commonly undergo. The others are reported only: they remove what a
reader needs or, like letterboxing, produce images unlike those of training."""


@dataclass(frozen=True)
class Sample:
    """The audited images: classes (0 or 1), patients, numeric file properties, logits and probabilities."""

    targets: NDArray[np.integer]
    groups: NDArray[np.integer]
    properties: pd.DataFrame
    logits: Array
    probabilities: Array


def audit(
    score: Scorer,
    images: NDArray[np.uint8],
    index: pd.DataFrame,
    metadata: pd.DataFrame,
    threshold: float,
    params: AuditParams,
    bootstrap: BootstrapParams,
) -> ModelAudit:
    """Return the audit of a model on images that it was not trained on.

    Args:
        score: the model.
        images: decoded images of both classes, uint8, shape (N, size, size).
        index: their N rows of splits.parquet (``path``, ``label``, ``group``).
        metadata: from `data.header_metadata.header_metadata`, for all paths of the index.
        threshold: operating point; a probability at or above it is called PNEUMONIA.
        params: calipers and limits.
        bootstrap: number of resamples of patients, and their seed.
    """
    sample = _sample(index, metadata, *score(images))
    aspects = sample.properties["aspect"].to_numpy()
    changes = {
        name: _audit_perturbation(
            sample, *score(perturb(name, images, aspects)), threshold, name in MILD, params, bootstrap
        )
        for name in PERTURBATIONS
    }
    return _audit_sample(sample, changes, params, bootstrap)


def audit_scores(
    index: pd.DataFrame,
    metadata: pd.DataFrame,
    logits: Array,
    probabilities: Array,
    params: AuditParams,
    bootstrap: BootstrapParams,
) -> ModelAudit:
    """Return the audit of scores without a model, that is, without perturbations; see `audit` for the arguments."""
    return _audit_sample(_sample(index, metadata, logits, probabilities), {}, params, bootstrap)


def _sample(index: pd.DataFrame, metadata: pd.DataFrame, logits: Array, probabilities: Array) -> Sample:
    return Sample(
        targets=index["label"].map(target).to_numpy(int),
        groups=index["group"].to_numpy(),
        properties=numeric(metadata.loc[index["path"]]),
        logits=logits,
        probabilities=probabilities,
    )


def _audit_sample(
    sample: Sample, perturbations: dict[str, PerturbationAudit], params: AuditParams, bootstrap: BootstrapParams
) -> ModelAudit:
    statistics = {"auc": intervals.roc_auc(sample.targets, sample.logits)}
    (auc,) = intervals.estimate(statistics, sample.groups, bootstrap).values()
    matched = {
        name: _audit_matched(sample, name, caliper, params, bootstrap)
        for name, caliper in params.calipers.model_dump().items()
    }
    correlations = {
        label: {name: _audit_correlation(sample, label, name, params, bootstrap) for name in CORRELATED_PROPERTIES}
        for label in CLASS_NAMES
    }
    return ModelAudit(
        verdict=_verdict(matched, correlations, perturbations),
        images=len(sample.targets),
        patients=len(np.unique(sample.groups)),
        auc=auc.rounded(),
        matched=matched,
        correlations=correlations,
        perturbations=perturbations,
        limits=AuditLimits(
            calipers=params.calipers,
            minimum_patients=params.minimum_patients,
            minimum_matched_auc=params.minimum_matched_auc,
            maximum_correlation=params.maximum_correlation,
            maximum_change=params.maximum_change,
            maximum_flipped=params.maximum_flipped,
            maximum_auc_loss=params.maximum_auc_loss,
        ),
    )


def _audit_matched(
    sample: Sample, name: str, caliper: float, params: AuditParams, bootstrap: BootstrapParams
) -> MatchedAudit:
    values, positive = sample.properties[name].to_numpy(), sample.targets == 1
    ratio = np.log(values[positive])[:, None] - np.log(values[~positive])
    matched = np.abs(ratio) <= np.log1p(caliper)
    pairs = int(matched.sum())
    patients = {
        CLASS_NAMES[0]: len(np.unique(sample.groups[~positive][matched.any(axis=0)])),
        CLASS_NAMES[1]: len(np.unique(sample.groups[positive][matched.any(axis=1)])),
    }
    if min(patients.values()) < params.minimum_patients:
        return MatchedAudit(pairs=pairs, patients=patients, outcome=Outcome.INCONCLUSIVE)
    aucs = intervals.estimate(
        {
            "model": matched_auc(sample.targets, sample.logits, matched),
            "property": matched_auc(sample.targets, values, matched),
        },
        sample.groups,
        bootstrap,
    )
    return MatchedAudit(
        pairs=pairs,
        patients=patients,
        auc=aucs["model"].rounded(),
        property_auc=aucs["property"].rounded(),
        outcome=_outcome(aucs["model"].ends[0] >= params.minimum_matched_auc),
    )


def _audit_correlation(
    sample: Sample, label: str, name: str, params: AuditParams, bootstrap: BootstrapParams
) -> CorrelationAudit:
    among, values = sample.targets == target(label), sample.properties[name].to_numpy()
    statistic = rank_correlation(values, sample.logits, among)
    correlation = intervals.estimate({"correlation": statistic}, sample.groups, bootstrap).get("correlation")
    if correlation is None:  # the property is constant, so scores cannot be correlated with it
        return CorrelationAudit(outcome=Outcome.PASS if name in CRITERIA_PROPERTIES else None)
    if name not in CRITERIA_PROPERTIES:
        return CorrelationAudit(correlation=correlation.rounded())
    if len(np.unique(sample.groups[among])) < params.minimum_patients or correlation.low is None:
        return CorrelationAudit(correlation=correlation.rounded(), outcome=Outcome.INCONCLUSIVE)
    within = max(-correlation.ends[0], correlation.ends[1]) <= params.maximum_correlation
    return CorrelationAudit(correlation=correlation.rounded(), outcome=_outcome(within))


def _audit_perturbation(
    sample: Sample,
    logits: Array,
    probabilities: Array,
    threshold: float,
    has_criterion: bool,
    params: AuditParams,
    bootstrap: BootstrapParams,
) -> PerturbationAudit:
    change = probabilities - sample.probabilities
    flipped = (probabilities >= threshold) != (sample.probabilities >= threshold)
    before, after = (intervals.roc_auc(sample.targets, scores) for scores in (sample.logits, logits))
    figures = intervals.estimate(
        {
            "mean_change": _mean(change),
            "mean_absolute_change": _mean(np.abs(change)),
            "flipped": intervals.Share(flipped, np.ones_like(flipped)),
            "auc_change": lambda weights: after(weights) - before(weights),
        },
        sample.groups,
        bootstrap,
    )
    within = (
        figures["mean_absolute_change"].ends[1] <= params.maximum_change
        and figures["flipped"].ends[1] <= params.maximum_flipped
        and figures["auc_change"].ends[0] >= -params.maximum_auc_loss
    )
    return PerturbationAudit(
        mean_change=figures["mean_change"].rounded(),
        mean_absolute_change=figures["mean_absolute_change"].rounded(),
        flipped=figures["flipped"].rounded(),
        auc_change=figures["auc_change"].rounded(),
        outcome=_outcome(within) if has_criterion else None,
    )


def _mean(values: Array) -> intervals.Statistic:
    return lambda weights: np.asarray(weights @ values / weights.sum(axis=1))


def _outcome(within_limit: bool) -> Outcome:
    return Outcome.PASS if within_limit else Outcome.FAIL


def _verdict(
    matched: Mapping[str, MatchedAudit],
    correlations: Mapping[str, Mapping[str, CorrelationAudit]],
    perturbations: Mapping[str, PerturbationAudit],
) -> Outcome:
    """Return fail if any criterion fails, else inconclusive if any is, else pass."""
    outcomes = {
        *(entry.outcome for entry in matched.values()),
        *(entry.outcome for by_name in correlations.values() for entry in by_name.values()),
        *(entry.outcome for entry in perturbations.values()),
    }
    return next((one for one in (Outcome.FAIL, Outcome.INCONCLUSIVE) if one in outcomes), Outcome.PASS)
