"""The whole judgement of one model, as plain JSON types: what its answers are worth, with intervals, and for whom."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics as sk

from pneumonia import labels
from pneumonia.config import BootstrapParams, EvaluateParams
from pneumonia.evaluation import calibration, comparison, slices
from pneumonia.evaluation.intervals import DECIMALS, LEVEL, Estimate, Share, binary_figures, estimate
from pneumonia.evaluation.predictive_values import predictive_values
from pneumonia.models.bundle import Card
from pneumonia.models.calibration import Calibration


@dataclass(frozen=True)
class Subset:
    """Images with a model's answers.

    Attributes:
        logits: (N,) what the network answers, before calibration.
        targets: (N,) of 0 and 1.
        groups: (N,) the patient of each image.
        causes: (N,) of `labels.CAUSES`.
        facts: N rows of `data.facts.header_facts`.
    """

    logits: NDArray[np.float64]
    targets: NDArray[np.integer]
    groups: NDArray[np.integer]
    causes: NDArray[np.str_]
    facts: pd.DataFrame

    @classmethod
    def of(cls, index: pd.DataFrame, logits: NDArray[np.float64], facts: pd.DataFrame) -> "Subset":
        """Make it of rows of splits.parquet, the logits (N,) of these rows, and facts that hold their paths."""
        return cls(
            logits,
            index["label"].map(labels.target).to_numpy(int),
            index["group"].to_numpy(),
            index["cause"].to_numpy(str),
            facts.loc[index["path"]],
        )

    def where(self, mask: NDArray[np.bool_]) -> "Subset":
        """Return some of the images."""
        return Subset(self.logits[mask], self.targets[mask], self.groups[mask], self.causes[mask], self.facts[mask])


def judge(
    card: Card, subsets: Mapping[str, Subset], size_cuts: tuple[float, float], params: EvaluateParams
) -> dict[str, Any]:
    """Judge a model.

    Args:
        card: of its bundle; calibration, operating point and band are taken from it.
        subsets: by name (``validation``, ``test``), the images with the network's logits.
        size_cuts: megapixels between small, medium and large, as `slices.size_cuts` has them of development images.
        params: resamples, prevalences and the smallest slice.

    Returns:
        ``model``, ``bootstrap`` (``unit``, ``level``, ``resamples``, ``seed``), ``operating_point`` (``threshold`` and
        ``band``), ``calibration`` (the card's) and ``subsets``. Each subset has ``images`` and ``patients`` (per
        class), ``figures``, ``calibration`` (``before`` and ``after``: ``loss``, ``brier``, ``ece`` and
        ``reliability``, a row per bin that is not empty), ``band`` (``coverage``, the share that is answered, and
        ``figures`` among the answered), ``predictive_values`` (by prevalence ``ppv`` and ``npv``) and ``slices`` (by
        kind and name: ``images``, ``patients``, ``warning`` and ``figures``). A figure is ``value``, ``low`` and
        ``high``; undefined ones are left out.
    """
    return {
        "model": card.name,
        "bootstrap": {"unit": "patient", "level": LEVEL, **params.bootstrap.model_dump()},
        "operating_point": {
            "threshold": round(card.threshold, DECIMALS),
            "band": {name: round(end, DECIMALS) for name, end in dataclasses.asdict(card.band).items()},
        },
        "calibration": dataclasses.asdict(card.calibration),
        "subsets": {name: _judge_subset(card, subset, size_cuts, params) for name, subset in subsets.items()},
    }


def compare(
    cards: Mapping[str, Card], models: Mapping[str, Mapping[str, Subset]], reference: str, bootstrap: BootstrapParams
) -> dict[str, Any]:
    """Compare every model with one of them, the reference, on the same images.

    Returns:
        ``reference``, and ``models``: by model and subset the answer of `comparison.compare`, model less reference.
    """

    def answers(model: str, subset: str) -> tuple[NDArray[np.float64], float]:
        return cards[model].calibration.probabilities(models[model][subset].logits), cards[model].threshold

    return {
        "reference": reference,
        "models": {
            model: {
                name: comparison.compare(
                    subset.targets, subset.groups, answers(model, name), answers(reference, name), bootstrap
                )
                for name, subset in subsets.items()
            }
            for model, subsets in models.items()
            if model != reference
        },
    }


def _judge_subset(
    card: Card, subset: Subset, size_cuts: tuple[float, float], params: EvaluateParams
) -> dict[str, Any]:
    probabilities = card.calibration.probabilities(subset.logits)
    called = probabilities >= card.threshold
    at_prevalence = predictive_values(subset.targets, called, subset.groups, params.prevalences, params.bootstrap)
    masks = slices.slices(subset.targets, subset.causes, subset.facts, size_cuts)
    return {
        **_counts(subset),
        "figures": _figures(card, subset, params.bootstrap),
        "calibration": {
            "before": _calibration(Calibration(), subset, params.bootstrap),
            "after": _calibration(card.calibration, subset, params.bootstrap),
        },
        "band": _band(card, subset, params.bootstrap),
        "predictive_values": {str(prevalence): _json(values) for prevalence, values in at_prevalence.items()},
        "slices": {
            kind: {name: _slice(card, subset.where(mask), params) for name, mask in by_name.items()}
            for kind, by_name in masks.items()
        },
    }


def _counts(subset: Subset) -> dict[str, Any]:
    images = np.bincount(subset.targets, minlength=2).tolist()
    return {
        "images": dict(zip(labels.CLASS_NAMES, images, strict=True)),
        "patients": slices.patients(subset.targets, subset.groups),
    }


def _figures(card: Card, subset: Subset, bootstrap: BootstrapParams) -> dict[str, Any]:
    probabilities = card.calibration.probabilities(subset.logits)
    return _json(binary_figures(subset.targets, probabilities, card.threshold, subset.groups, bootstrap))


def _calibration(calibrated: Calibration, subset: Subset, bootstrap: BootstrapParams) -> dict[str, Any]:
    probabilities = calibrated.probabilities(subset.logits)
    return {
        "loss": round(float(sk.log_loss(subset.targets, probabilities, labels=[0, 1])), DECIMALS),
        "brier": round(float(np.mean((probabilities - subset.targets) ** 2)), DECIMALS),
        "ece": round(calibration.calibration_error(subset.targets, probabilities), DECIMALS),
        "reliability": _reliability(probabilities, subset, bootstrap),
    }


def _reliability(
    probabilities: NDArray[np.float64], subset: Subset, bootstrap: BootstrapParams
) -> list[dict[str, Any]]:
    """Return per bin its ends, its images, their mean probability, and the share that is PNEUMONIA."""
    member = calibration.bins(probabilities)
    shares = estimate(
        {str(b): Share(subset.targets == 1, member == b) for b in range(calibration.BINS)}, subset.groups, bootstrap
    )
    return [
        {
            "from": b / calibration.BINS,
            "to": (b + 1) / calibration.BINS,
            "images": int((member == b).sum()),
            "probability": round(float(probabilities[member == b].mean()), DECIMALS),
            "share": shares[str(b)].to_json(),
        }
        for b in range(calibration.BINS)
        if str(b) in shares
    ]


def _band(card: Card, subset: Subset, bootstrap: BootstrapParams) -> dict[str, Any]:
    answered = ~card.band.holds(card.calibration.probabilities(subset.logits))
    everyone = np.ones_like(answered)
    return {
        "coverage": estimate({"coverage": Share(answered, everyone)}, subset.groups, bootstrap)["coverage"].to_json(),
        "figures": _figures(card, subset.where(answered), bootstrap) if answered.any() else {},
    }


def _slice(card: Card, subset: Subset, params: EvaluateParams) -> dict[str, Any]:
    counts = _counts(subset)
    return {
        **counts,
        "warning": slices.warning(counts["patients"], params.minimum_slice),
        "figures": _figures(card, subset, params.bootstrap),
    }


def _json(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: figure.to_json() for name, figure in figures.items()}
