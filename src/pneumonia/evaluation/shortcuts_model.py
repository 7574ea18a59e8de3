"""What a model does with the shortcuts of its data: does it still judge when they are of no help?

Three questions to its scores: how well does it tell the classes apart among images that are alike in how their files
were made; how closely do its scores follow a header fact within a class, where the diagnosis explains nothing; and
what happens when the same image is written, resized, blurred or sharpened anew. The burden of proof lies with the
model: the unfavourable end of each 95% interval has to keep the limit. A model passes only if it passes everything, so
that the intervals need no correction for their number (intersection-union test; Berger, Technometrics 24, 1982).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.config import AuditParams, BootstrapParams
from pneumonia.evaluation import intervals
from pneumonia.evaluation.shortcuts_data import numeric
from pneumonia.images.perturb import PERTURBATIONS, perturb
from pneumonia.labels import CLASS_NAMES, target

Array = NDArray[np.float64]
Scorer = Callable[[NDArray[np.uint8]], tuple[Array, Array]]
"""From images (N, size, size) to logits (N,) and calibrated probabilities (N,)."""

PASS, FAIL, UNKNOWN = "pass", "fail", "cannot tell"

JUDGED_FACTS = ("width", "aspect", "jpeg_quality")
"""The rest of `FOLLOWED` is reported only: the megapixels say what width and aspect say, bytes follow the content."""

FOLLOWED = (*JUDGED_FACTS, "megapixels", "bytes_per_megapixel")

MILD = ("jpeg_50", "half_size", "blur", "sharpen")
"""Perturbations that files meet every day. The others are reported only: they take away what a reader needs, or, like
letterboxing, show the model a kind of picture that it has never seen."""


@dataclass(frozen=True)
class Sample:
    """What is known of N images: targets (0 or 1), patients, header facts as numbers, logits and probabilities."""

    targets: NDArray[np.integer]
    groups: NDArray[np.integer]
    facts: pd.DataFrame
    logits: Array
    probabilities: Array


def audit(
    score: Scorer,
    images: NDArray[np.uint8],
    index: pd.DataFrame,
    facts: pd.DataFrame,
    threshold: float,
    params: AuditParams,
    bootstrap: BootstrapParams,
) -> dict[str, Any]:
    """Judge a model on images that it has not learnt from.

    Args:
        score: the model.
        images: (N, size, size) uint8 of both classes.
        index: their N rows of splits.parquet (``path``, ``label``, ``group``).
        facts: as `header_facts` returns them, of all paths of the index.
        threshold: the operating point: a probability at or above it is called PNEUMONIA.
        params: calipers and limits.
        bootstrap: resamples of patients.

    Returns:
        What `judge_scores` returns, and ``perturbations``, by name: ``mean_change`` of the probability,
        ``mean_absolute_change``, ``flipped`` (share of decisions) and ``auc_change``, each with its interval, and for
        the mild ones ``outcome``. The ``verdict`` is of all outcomes.
    """
    sample = _sample(index, facts, *score(images))
    aspects = sample.facts["aspect"].to_numpy()
    perturbed = {name: score(perturb(name, images, aspects)) for name in PERTURBATIONS}
    changes = {
        name: _perturbation(sample, *answers, threshold, name in MILD, params, bootstrap)
        for name, answers in perturbed.items()
    }
    judged = judge_scores(index, facts, sample.logits, sample.probabilities, params, bootstrap)
    return _with_verdict(judged | {"perturbations": changes})


def judge_scores(
    index: pd.DataFrame,
    facts: pd.DataFrame,
    logits: Array,
    probabilities: Array,
    params: AuditParams,
    bootstrap: BootstrapParams,
) -> dict[str, Any]:
    """Judge scores alone, as a table of predictions has them; see `audit` for the arguments.

    Returns:
        ``images``, ``patients`` and ``auc`` of all images; ``matched`` by fact: number of ``pairs`` and ``patients``
        by class, ``auc`` of the scores among them, ``fact_auc`` of the fact itself (near 0.5 when the caliper is tight
        enough) and ``outcome``; ``follows`` by class and fact: ``correlation`` (Spearman's) and ``outcome``; and the
        ``verdict``. Figures are objects of ``value``, ``low`` and ``high``.
    """
    sample = _sample(index, facts, logits, probabilities)
    (auc,) = intervals.estimate({"auc": intervals.roc_auc(sample.targets, logits)}, sample.groups, bootstrap).values()
    return _with_verdict(
        {
            "images": len(index),
            "patients": int(index["group"].nunique()),
            "auc": auc.to_json(),
            "matched": {
                fact: _matched(sample, fact, caliper, params, bootstrap)
                for fact, caliper in params.calipers.model_dump().items()
            },
            "follows": {
                label: {fact: _follows(sample, label, fact, params, bootstrap) for fact in FOLLOWED}
                for label in CLASS_NAMES
            },
        }
    )


def matched_auc(targets: NDArray[np.integer], scores: Array, alike: NDArray[np.bool_]) -> intervals.Statistic:
    """Return the AUC among pairs: the share in the right order of those (positive, negative) that are alike.

    Ties count half. With all pairs alike this is the area under the ROC curve. Both members of a pair carry the weight
    of their patient, so that resampling patients resamples both sides. The idea of comparing within a covariate is in
    Janes and Pepe, Adjusting for covariate effects on classification accuracy, Biometrika 96, 2009.

    Args:
        targets: (N,) of 0 and 1, P of them 1.
        scores: (N,).
        alike: (P, N - P), whether a positive and a negative form a pair.
    """
    positive = targets == 1
    above = scores[positive][:, None] - scores[~positive]
    right = alike * (np.sign(above) + 1) / 2

    def area(weights: Array) -> Array:
        positives, negatives = weights[:, positive], weights[:, ~positive]
        pairs = ((positives @ alike) * negatives).sum(axis=1)
        return np.asarray(((positives @ right) * negatives).sum(axis=1) / pairs)

    return area


def rank_correlation(first: Array, second: Array, among: NDArray[np.bool_]) -> intervals.Statistic:
    """Return Spearman's rank correlation of two quantities (N,) among some images (N,) bool.

    Ranks are taken anew in each resample; ties share their mean rank.
    """

    def correlation(weights: Array) -> Array:
        within = weights[:, among]
        total = within.sum(axis=1, keepdims=True)
        centred = [
            ranks - (within * ranks).sum(axis=1, keepdims=True) / total
            for ranks in (_ranks(first[among], within), _ranks(second[among], within))
        ]
        covariance, *variances = (
            (within * one * other).sum(axis=1) for one, other in (centred, [centred[0]] * 2, [centred[1]] * 2)
        )
        scale = np.sqrt(variances[0] * variances[1])
        return np.where(scale > 1e-9, covariance / scale, np.nan)  # undefined where one of them does not vary

    return correlation


def _ranks(values: Array, weights: Array) -> Array:
    """Return the mean ranks (B, N) of values (N,) that occur as often as weights (B, N) say."""
    order = np.argsort(values, kind="stable")
    _, first, place = np.unique(values[order], return_index=True, return_inverse=True)
    counts = np.add.reduceat(weights[:, order], first, axis=1)
    middle = np.cumsum(counts, axis=1) - counts / 2
    ranks = np.empty_like(weights)
    ranks[:, order] = middle[:, place]
    return ranks


def _sample(index: pd.DataFrame, facts: pd.DataFrame, logits: Array, probabilities: Array) -> Sample:
    return Sample(
        targets=index["label"].map(target).to_numpy(int),
        groups=index["group"].to_numpy(),
        facts=numeric(facts.loc[index["path"]]),
        logits=logits,
        probabilities=probabilities,
    )


def _matched(
    sample: Sample, fact: str, caliper: float, params: AuditParams, bootstrap: BootstrapParams
) -> dict[str, Any]:
    values, positive = sample.facts[fact].to_numpy(), sample.targets == 1
    ratio = np.log(values[positive])[:, None] - np.log(values[~positive])
    alike = np.abs(ratio) <= np.log1p(caliper)
    patients = {
        CLASS_NAMES[0]: len(np.unique(sample.groups[~positive][alike.any(axis=0)])),
        CLASS_NAMES[1]: len(np.unique(sample.groups[positive][alike.any(axis=1)])),
    }
    found = {"pairs": int(alike.sum()), "patients": patients}
    if min(patients.values()) < params.minimum_patients:
        return found | {"outcome": UNKNOWN}
    figures = intervals.estimate(
        {
            "auc": matched_auc(sample.targets, sample.logits, alike),
            "fact_auc": matched_auc(sample.targets, values, alike),
        },
        sample.groups,
        bootstrap,
    )
    kept = _low(figures["auc"]) >= params.minimum_matched_auc
    return found | {name: figure.to_json() for name, figure in figures.items()} | {"outcome": _outcome(kept)}


def _follows(sample: Sample, label: str, fact: str, params: AuditParams, bootstrap: BootstrapParams) -> dict[str, Any]:
    among, values = sample.targets == target(label), sample.facts[fact].to_numpy()
    statistic = rank_correlation(values, sample.logits, among)
    found = intervals.estimate({"correlation": statistic}, sample.groups, bootstrap)
    if not found:  # the same for all images, so that nothing can follow it
        return {"outcome": PASS} if fact in JUDGED_FACTS else {}
    correlation = found["correlation"]
    if fact not in JUDGED_FACTS:
        return {"correlation": correlation.to_json()}
    if len(np.unique(sample.groups[among])) < params.minimum_patients or correlation.low is None:
        return {"correlation": correlation.to_json(), "outcome": UNKNOWN}
    kept = max(-_low(correlation), _high(correlation)) <= params.maximum_correlation
    return {"correlation": correlation.to_json(), "outcome": _outcome(kept)}


def _perturbation(
    sample: Sample,
    logits: Array,
    probabilities: Array,
    threshold: float,
    judged: bool,
    params: AuditParams,
    bootstrap: BootstrapParams,
) -> dict[str, Any]:
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
    kept = (
        _high(figures["mean_absolute_change"]) <= params.maximum_change
        and _high(figures["flipped"]) <= params.maximum_flipped
        and _low(figures["auc_change"]) >= -params.maximum_auc_loss
    )
    told: dict[str, Any] = {name: figure.to_json() for name, figure in figures.items()}
    return told | ({"outcome": _outcome(kept)} if judged else {})


def _mean(values: Array) -> intervals.Statistic:
    return lambda weights: np.asarray(weights @ values / weights.sum(axis=1))


def _low(estimate: intervals.Estimate) -> float:
    """Return the lower end of the interval; a figure that no resample changes is its own."""
    return estimate.value if estimate.low is None else estimate.low


def _high(estimate: intervals.Estimate) -> float:
    return estimate.value if estimate.high is None else estimate.high


def _outcome(kept: bool) -> str:
    return PASS if kept else FAIL


def _with_verdict(judged: dict[str, Any]) -> dict[str, Any]:
    """Add the verdict: fail where anything fails, else `UNKNOWN` where anything cannot be told, else pass."""
    outcomes = {entry.get("outcome") for entry in _entries(judged)}
    verdict = next((outcome for outcome in (FAIL, UNKNOWN) if outcome in outcomes), PASS)
    return judged | {"verdict": verdict}


def _entries(judged: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        *judged["matched"].values(),
        *(entry for facts in judged["follows"].values() for entry in facts.values()),
        *judged.get("perturbations", {}).values(),
    ]
