"""Retrain? Four questions about a model in use, answered from its log by rules that are stated here.

1. Is the input different? What the drift report says (`pneumonia monitor`).
2. Is the model worse? Sensitivity and specificity by the labels, against the judgement before it was put to use.
3. Is it enough evidence? The sequential test of `sequential`, for each of the two at half the false-alarm rate.
4. What to do: `_advise`.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd

from pneumonia.config import BootstrapParams, FeedbackParams
from pneumonia.labels import CLASS_NAMES, POSITIVE
from pneumonia.monitoring import sequential
from pneumonia.monitoring.log import LoggedModel
from pneumonia.monitoring.performance import Figure
from pneumonia.monitoring.periods import Period, measured, periods
from pneumonia.monitoring.sequential import Evidence

Advice = Literal["nothing", "collect labels", "recalibrate", "retrain"]
CLASS_OF = {"sensitivity": POSITIVE, "specificity": CLASS_NAMES[0]}
"""The class whose images tell a share of right answers."""


@dataclass(frozen=True)
class Reference:
    """How good the model was before it was put to use: figures by name, on how many images, and on which."""

    figures: dict[str, float]
    images: int
    origin: str


@dataclass(frozen=True)
class Drift:
    """What a drift report said: whether it raised an alarm, over which columns, on how many predictions of when."""

    alert: bool
    columns: tuple[str, ...]
    predictions: int
    first: str
    last: str


@dataclass(frozen=True)
class Assessment:
    """All that the page says.

    Attributes:
        made: when.
        model: the model in question, as the log knows it.
        reference: what it is held against.
        answered: predictions with an answer.
        labels: labelled predictions by class.
        blinded: labels that were given before the model's answer was seen.
        drift: what the drift report said; None where there is none.
        recent: figures on the newest labels.
        recent_labels: how many these are.
        periods: performance over time.
        evidence: of the sequential test, for sensitivity and specificity.
        advice: what to do.
        params: the limits that were applied.
    """

    made: datetime
    model: LoggedModel
    reference: Reference
    answered: int
    labels: dict[str, int]
    blinded: int
    drift: Drift | None
    recent: dict[str, Figure]
    recent_labels: int
    periods: tuple[Period, ...]
    evidence: dict[str, Evidence]
    advice: Advice
    params: FeedbackParams

    @property
    def labelled(self) -> int:
        """Labelled predictions."""
        return sum(self.labels.values())

    @property
    def worse(self) -> tuple[str, ...]:
        """What has surely become worse."""
        return tuple(name for name, evidence in self.evidence.items() if evidence.alarm_after is not None)

    @property
    def past(self) -> tuple[str, ...]:
        """Those of `worse` for which the newest labels no longer bear the alarm out."""
        return tuple(name for name in self.worse if self.evidence[name].value < self.evidence[name].needed)

    @property
    def enough_labels(self) -> bool:
        """Whether there are labels enough of either class to say that all is well."""
        return min(self.labels.values()) >= self.params.minimum_labels

    @property
    def auc_limit(self) -> float | None:
        """The lowest AUC that is tolerated; None where the reference has none."""
        return _auc_limit(self.reference, self.params)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "made": self.made.isoformat(),
            "model": asdict(self.model) | {"first": self.model.first.isoformat(), "last": self.model.last.isoformat()},
            "reference": asdict(self.reference),
            "answered": self.answered,
            "labels": self.labels,
            "blinded": self.blinded,
            "drift": self.drift and asdict(self.drift),
            "recent": {"labels": self.recent_labels, "figures": _plain(self.recent)},
            "periods": [
                {
                    "first": period.first.isoformat(),
                    "last": period.last.isoformat(),
                    "predictions": period.predictions,
                    "labelled": period.labelled,
                    "measured": _plain(period.measured),
                    "estimated": _plain(period.estimated),
                    "missed_by": period.missed_by,
                }
                for period in self.periods
            ],
            "evidence": {name: asdict(evidence) for name, evidence in self.evidence.items()},
            "worse": list(self.worse),
            "advice": self.advice,
        }


def assess(
    found: pd.DataFrame,
    model: LoggedModel,
    reference: Reference,
    drift: Drift | None,
    params: FeedbackParams,
    bootstrap: BootstrapParams,
    made: datetime,
) -> Assessment:
    """Answer the four questions.

    Args:
        found: the model's predictions as `periods.cases` returns them.
        model: what the log knows of it.
        reference: what it is held against; ``sensitivity`` and ``specificity`` are needed.
        drift: what the drift report says, if there is one.
        params: limits.
        bootstrap: for the intervals.
        made: now.
    """
    labelled = found[found["label"].notna()].sort_values(["label_time", "time"], kind="stable")
    newest = labelled.tail(params.recent)
    counts = {name: int((labelled["label"] == name).sum()) for name in CLASS_NAMES}
    evidence = {name: _evidence(labelled, name, reference, params) for name in CLASS_OF}
    recent = measured(newest, bootstrap)
    return Assessment(
        made=made,
        model=model,
        reference=reference,
        answered=len(found),
        labels=counts,
        blinded=int(labelled["blinded"].sum()),
        drift=drift,
        recent=recent,
        recent_labels=len(newest),
        periods=tuple(periods(found, params.periods, params.period_size, bootstrap)),
        evidence=evidence,
        advice=_advise(evidence, recent.get("roc_auc"), counts, drift, reference, params),
        params=params,
    )


def _evidence(labelled: pd.DataFrame, name: str, reference: Reference, params: FeedbackParams) -> Evidence:
    """Weigh the labels of one class in the order in which they came: that is what was known at each look."""
    label = CLASS_OF[name]
    called = labelled.loc[labelled["label"] == label, "called"].to_numpy(dtype=bool)
    limit = reference.figures[name] - getattr(params.tolerated_loss, name)
    right = called if label == POSITIVE else ~called
    return sequential.against(np.asarray(right), limit, params.false_alarm_rate / len(CLASS_OF))


def _advise(
    evidence: dict[str, Evidence],
    auc: Figure | None,
    labels: dict[str, int],
    drift: Drift | None,
    reference: Reference,
    params: FeedbackParams,
) -> Advice:
    """Decide what to do.

    Where the model is surely worse: ``retrain`` if the newest labels show that it also ranks images surely worse than
    tolerated, for no threshold mends that; else ``recalibrate``. Where it is not: ``collect labels`` if there are too
    few of a class, or if the input is different; else ``nothing``.
    """
    if any(said.alarm_after is not None for said in evidence.values()):
        limit = _auc_limit(reference, params)
        surely_below = limit is not None and auc is not None and auc.high is not None and auc.high < limit
        return "retrain" if surely_below else "recalibrate"
    if min(labels.values()) < params.minimum_labels or (drift and drift.alert):
        return "collect labels"
    return "nothing"


def _auc_limit(reference: Reference, params: FeedbackParams) -> float | None:
    known = reference.figures.get("roc_auc")
    return None if known is None else known - params.tolerated_loss.roc_auc


def _plain(figures: dict[str, Figure]) -> dict[str, Any]:
    return {name: figure.to_json() for name, figure in figures.items()}
