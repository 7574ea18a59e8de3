"""Recommend an action for a model in use, from its prediction log and by fixed rules.

1. Has the input changed? By the drift report (`pneumonia monitor`).
2. Has performance deteriorated? Sensitivity and specificity by labels, compared with those before deployment.
3. Is the evidence sufficient? By a sequential test of each of the two, each at half the false alarm rate.
4. What to do? By `recommend`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import pandas as pd
from pydantic import AwareDatetime

from pneumonia.core.errors import MonitoringError
from pneumonia.core.labels import CLASS_NAMES, POSITIVE
from pneumonia.core.model import FrozenModel
from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.monitoring import sequential
from pneumonia.monitoring.baseline import Baseline
from pneumonia.monitoring.drift_report import DriftReport
from pneumonia.monitoring.log import Log, LoggedModel
from pneumonia.monitoring.performance import Metric
from pneumonia.monitoring.periods import Period, by_period, measure_labelled
from pneumonia.monitoring.sequential import SequentialTest
from pneumonia.monitoring.settings import FeedbackParams

Action = Literal["nothing", "collect labels", "recalibrate", "retrain"]
CLASS_OF = {"sensitivity": POSITIVE, "specificity": CLASS_NAMES[0]}
"""The class whose images determine each metric."""


class DriftSummary(FrozenModel):
    """Result of a drift report.

    Attributes:
        alert: whether any column has changed.
        changed: names of the columns that have changed.
        images: number of predictions in the window.
        first: time of the first prediction in the window.
        last: time of the last prediction in the window.
    """

    alert: bool
    changed: tuple[str, ...]
    images: int
    first: AwareDatetime
    last: AwareDatetime


class RetrainingReport(FrozenModel):
    """Recommended action for a model in use, with all evidence.

    Attributes:
        created: time of the report.
        model: the model, as logged.
        baseline: performance before deployment.
        answered: number of predictions with an answer.
        labels: number of labelled predictions by class.
        blinded: number of labels that were given without seeing the model's answer.
        drift: result of the drift report; None if there is none.
        recent: metrics on the most recent labels.
        recent_labels: number of these labels.
        periods: performance over time.
        tests: sequential test of sensitivity and of specificity.
        deteriorated: metrics with an alarm.
        recovered: those of ``deteriorated`` whose e-value is below the alarm level again.
        auc_limit: lowest tolerated AUC; None if the baseline has none.
        action: the recommended action.
    """

    created: AwareDatetime
    model: LoggedModel
    baseline: Baseline
    answered: int
    labels: dict[str, int]
    blinded: int
    drift: DriftSummary | None
    recent: dict[str, Metric]
    recent_labels: int
    periods: tuple[Period, ...]
    tests: dict[str, SequentialTest]
    deteriorated: tuple[str, ...]
    recovered: tuple[str, ...]
    auc_limit: float | None
    action: Action

    @property
    def labelled(self) -> int:
        """Number of labelled predictions."""
        return sum(self.labels.values())


def assess(
    predictions: pd.DataFrame,
    model: LoggedModel,
    baseline: Baseline,
    drift: DriftSummary | None,
    params: FeedbackParams,
    bootstrap: BootstrapParams,
    now: datetime,
) -> RetrainingReport:
    """Return the report of a model.

    Args:
        predictions: as `periods.answered_predictions` returns them.
        model: the model, as logged.
        baseline: performance before deployment.
        drift: result of the drift report of this model, if there is one.
        params: limits.
        bootstrap: number of resamples and seed of the intervals.
        now: time of the report.
    """
    labelled = predictions[predictions["label"].notna()].sort_values(["label_time", "time"], kind="stable")
    newest = labelled.tail(params.recent)
    labels = {name: int((labelled["label"] == name).sum()) for name in CLASS_NAMES}
    tests = {name: _test(labelled, name, baseline, params) for name in CLASS_OF}
    deteriorated = tuple(name for name, test in tests.items() if test.alarm_after is not None)
    recent = measure_labelled(newest, bootstrap)
    auc = baseline.metrics.get("roc_auc")
    auc_limit = None if auc is None else auc - params.tolerated_loss.roc_auc
    return RetrainingReport(
        created=now,
        model=model,
        baseline=baseline,
        answered=len(predictions),
        labels=labels,
        blinded=int(labelled["blinded"].sum()),
        drift=drift,
        recent=recent,
        recent_labels=len(newest),
        periods=by_period(predictions, params.periods, params.period_size, bootstrap),
        tests=tests,
        deteriorated=deteriorated,
        recovered=tuple(name for name in deteriorated if tests[name].e_value < tests[name].alarm_level),
        auc_limit=auc_limit,
        action=recommend(
            deteriorated=bool(deteriorated),
            auc=recent.get("roc_auc"),
            auc_limit=auc_limit,
            enough_labels=enough_labels(labels, params),
            drift=bool(drift and drift.alert),
        ),
    )


def recommend(
    *, deteriorated: bool, auc: Metric | None, auc_limit: float | None, enough_labels: bool, drift: bool
) -> Action:
    """Return the recommended action.

    After a deterioration: ``retrain`` if the AUC of the most recent labels is significantly below its limit, because
    another threshold cannot fix the ranking; otherwise ``recalibrate``. Without one: ``collect labels`` if there are
    too few labels, or if the input has changed; otherwise ``nothing``.

    Args:
        deteriorated: whether sensitivity or specificity has an alarm.
        auc: AUC on the most recent labels, if defined.
        auc_limit: lowest tolerated AUC, if known.
        enough_labels: whether each class has the minimum number of labels.
        drift: whether the drift report has an alert.

    Examples:
        >>> auc = Metric(value=0.80, low=0.74, high=0.86, images=200)
        >>> recommend(deteriorated=True, auc=auc, auc_limit=0.90, enough_labels=True, drift=False)
        'retrain'
        >>> recommend(deteriorated=False, auc=auc, auc_limit=None, enough_labels=True, drift=False)
        'nothing'
    """
    if deteriorated:
        below_limit = auc_limit is not None and auc is not None and auc.high is not None and auc.high < auc_limit
        return "retrain" if below_limit else "recalibrate"
    return "collect labels" if drift or not enough_labels else "nothing"


def enough_labels(labels: Mapping[str, int], params: FeedbackParams) -> bool:
    """Return whether each class has at least ``params.minimum_labels`` labels.

    Args:
        labels: number of labels by class.
        params: limits.
    """
    return min(labels.values()) >= params.minimum_labels


def logged_model(log: Log, bundle_sha256: str) -> LoggedModel:
    """Return a model as the log has it, over all its registry versions.

    Raises:
        MonitoringError: the log has no prediction of the model.
    """
    logged = log.models()
    entries = [model for model in logged if model.bundle_sha256 == bundle_sha256]
    if not entries:
        others = ", ".join(f"{model.model} {model.bundle_sha256[:12]}" for model in logged) or "none"
        raise MonitoringError(
            f"the log holds no prediction of the model {bundle_sha256[:12]}. Models in the log: {others}. Name the "
            "folder of one of these (--bundle), or another log (--log)."
        )
    return entries[0].model_copy(
        update={
            "first": min(model.first for model in entries),
            "last": max(model.last for model in entries),
            "predictions": sum(model.predictions for model in entries),
        }
    )


def summarise_drift(report: DriftReport, bundle_sha256: str) -> DriftSummary:
    """Return the result of a drift report.

    Args:
        report: the report.
        bundle_sha256: hash of the bundle that the report must be of.

    Raises:
        MonitoringError: the report is about another model.
    """
    if report.bundle_sha256 != bundle_sha256:
        raise MonitoringError(
            f"expected a drift report of the model {bundle_sha256[:12]}, found one of {report.bundle_sha256[:12]}. "
            "Run `pneumonia monitor` for this model, or name its report (--drift)."
        )
    return DriftSummary(
        alert=report.alert, changed=report.changed, images=report.images, first=report.first, last=report.last
    )


def _test(labelled: pd.DataFrame, name: str, baseline: Baseline, params: FeedbackParams) -> SequentialTest:
    """Test one metric on the labels of its class, in the order in which they arrived."""
    label = CLASS_OF[name]
    called = labelled.loc[labelled["label"] == label, "called"].to_numpy(dtype=bool)
    limit = baseline.metrics[name] - getattr(params.tolerated_loss, name)
    right = called if label == POSITIVE else ~called
    return sequential.check_proportion(right, limit, params.false_alarm_rate / len(CLASS_OF))
