"""Section of the model card with the results of the shortcut audits."""

from collections.abc import Iterator
from typing import NamedTuple

from pneumonia.audit.audit_report import PARTS, DataAudit, ModelAudit, Outcome
from pneumonia.audit.shortcuts_page import DATA_MEANINGS, MODEL_MEANINGS, NAMES, describe_data
from pneumonia.core.markdown import head, interval, row


class AuditCriterion(NamedTuple):
    """A row of the table of criteria: what was tested, the value, the limit and the outcome."""

    name: str
    found: str
    limit: str
    outcome: Outcome


def shortcuts_section(name: str, data: DataAudit, model: ModelAudit | None) -> str:
    """Return the section on shortcuts of the data and of a model; None means that the model was not audited."""
    lines = [
        "## Shortcuts",
        "",
        "A model may learn how the files of the two classes were made instead of the disease. The audits test whether "
        "the classes can be separated without using the lungs, and whether the model relies on that.",
        "",
        f"**The data: {'ALARM' if data.alarm else 'no alarm'}.** {describe_data(data)} {DATA_MEANINGS[data.alarm]}",
        "",
        f"AUC of predictors that do not use the lungs. Alarm: an interval lies entirely above {data.limit:.2f} or "
        f"below {1 - data.limit:.2f}; the intervals hold at 95% simultaneously.",
        "",
        *_predictor_table(data),
        "",
        *(_model_verdict(model) if model else [f"**The model:** `{name}` was not audited."]),
        "",
    ]
    return "\n".join(lines)


def _predictor_table(data: DataAudit) -> Iterator[str]:
    yield from head("predictor", *PARTS, "alarm")
    for name, predictor in data.predictors.items():
        if predictor.can_alarm:
            aucs = (interval(predictor.on(part).auc) for part in PARTS)
            alarms = ", ".join(part for part in PARTS if predictor.on(part).alarm) or "no"
            yield row(NAMES[name], *aucs, alarms)


def _model_verdict(model: ModelAudit) -> Iterator[str]:
    criteria = list(_criteria(model))
    yield f"**The model: {model.verdict}.** {MODEL_MEANINGS[model.verdict]}"
    yield f"Its AUC on all test images is {interval(model.auc)}."
    for outcome, lead in ((Outcome.FAIL, "It fails"), (Outcome.INCONCLUSIVE, "The audit is inconclusive for")):
        names = [criterion.name for criterion in criteria if criterion.outcome == outcome]
        if names:
            yield f"{lead} {len(names)} of {len(criteria)} criteria: {'; '.join(names)}."
    yield ""
    yield "The unfavourable end of each interval must be within the limit."
    yield ""
    yield from head("criterion", "found", "limit", "outcome")
    for name, value, limit, outcome in criteria:
        yield row(name, value, limit, f"**{outcome}**" if outcome == Outcome.FAIL else outcome.value)


def _criteria(model: ModelAudit) -> Iterator[AuditCriterion]:
    limits = model.limits
    for name, matched in model.matched.items():
        value = interval(matched.auc) if matched.auc else f"{matched.pairs:,} pairs, too few patients"
        limit = f"at least {limits.minimum_matched_auc:.2f}"
        yield AuditCriterion(f"AUC among images matched by {NAMES[name]}", value, limit, matched.outcome)
    for label, correlations in model.correlations.items():
        for name, entry in correlations.items():
            if entry.outcome is not None:
                value = interval(entry.correlation) if entry.correlation else "constant"
                limit = f"within ±{limits.maximum_correlation:.2f}"
                title = f"correlation of score and {NAMES[name]} within {label}"
                yield AuditCriterion(title, value, limit, entry.outcome)
    for name, change in model.perturbations.items():
        if change.outcome is not None:
            value = "<br>".join(
                (
                    f"absolute change of probability {interval(change.mean_absolute_change)}",
                    f"decisions changed {interval(change.flipped)}",
                    f"AUC change {interval(change.auc_change)}",
                )
            )
            limit = "<br>".join(
                (
                    f"at most {limits.maximum_change:.2f}",
                    f"at most {limits.maximum_flipped:.2f}",
                    f"at least {-limits.maximum_auc_loss:.2f}",
                )
            )
            yield AuditCriterion(f"perturbation: {NAMES[name]}", value, limit, change.outcome)
