"""The page reports/shortcuts.md: question, findings and interpretation of the shortcut audit, then the tables."""

from collections.abc import Iterator, Mapping

from pneumonia.audit.audit_report import PARTS, AuditLimits, DataAudit, ModelAudit, Outcome
from pneumonia.core.markdown import head, interval, row

NAMES = {
    "width": "image width",
    "height": "image height",
    "megapixels": "megapixels",
    "aspect": "aspect ratio",
    "mode": "unusual colour mode",
    "jpeg_quality": "JPEG quality",
    "bytes": "file size in bytes",
    "bytes_per_megapixel": "bytes per megapixel",
    "header": "all file properties together",
    "border": "the outermost frame of the image",
    "jpeg_50": "JPEG of quality 50",
    "jpeg_20": "JPEG of quality 20",
    "half_size": "half the resolution",
    "quarter_size": "a quarter of the resolution",
    "letterbox": "true aspect ratio, padded with black",
    "blur": "slightly blurred",
    "sharpen": "slightly sharpened",
}
"""Names of predictors, file properties and perturbations on pages."""

SUMMARY = """\
# Shortcut audit

**Question.** Radiographs of patients with and without a disease often differ in more than the lungs: they come from
different machines, or were cropped, stored or marked differently. A model may learn these differences instead of the
disease, perform well on such images and fail elsewhere. The audit tests whether the classes of this dataset can be
separated without using the lungs, and whether the models rely on that.

**Result for the data: {alarm}.** {data}

**Results for the models.**

{models}

**Interpretation.** {meaning}
"""

DATA = """\
## Shortcuts in the data

![AUC of each predictor that does not use the lungs](figures/models/shortcuts_data.png)

Images: {counts}.

Each row is a predictor that does not use the lungs: a property of the file, a classifier of all such properties, or a
classifier of the outermost {border:.0%} of the image on each side, which excludes the lungs. The classifiers are
trained on development; their AUC on development is out of fold. AUC: the share of pairs of a PNEUMONIA and a NORMAL
image that the predictor orders correctly; 0.5 is chance. The AUC of a property is oriented so that it is above 0.5 on
development; a value below 0.5 on test means that the association is reversed there.

The intervals come from a bootstrap over patients and hold at 95% simultaneously for all AUCs that can raise the alarm.
The alarm is raised where an interval lies entirely above {limit:.2f} or below {mirror:.2f}. The number of bytes also
depends on the content of the image, because an opacity takes fewer bytes than a clear lung. It is reported and raises
no alarm.

| predictor | higher in | development | test | alarm |
| --- | --- | --- | --- | --- |
{rows}
"""

MODELS = """\
## Use of shortcuts by the models

![AUC among matched images, and decisions changed by perturbations](figures/models/shortcuts_models.png)

All results are on test images. Intervals are 95% intervals from a bootstrap over patients. A model
passes only if the unfavourable end of each interval is within the limit.

**Matched images.** Only pairs of a PNEUMONIA and a NORMAL image are compared that differ by no more than {calipers}.
Among these pairs the property does not help, and the AUC of a model that relies on it falls to 0.5. Limit: the
interval of the AUC lies above {minimum_matched_auc:.2f}, with at least {minimum_patients} patients of each class.
*Property* is the AUC of the property itself among these pairs; near 0.5, the pairs are matched closely enough.

**Within a class.** Spearman's correlation of the score with a property among images of the same class (0: none, 1 or
-1: perfect). Limit: the interval lies within ±{maximum_correlation:.2f}.

**Perturbations.** Applied to the decoded image. Limits for mild perturbations: the probability changes by no more than
{maximum_change:.2f} on average, no more than {maximum_flipped:.0%} of the decisions change, and the AUC falls by no
more than {maximum_auc_loss:.2f}.

![The perturbations on a phantom](figures/models/shortcuts_perturbations.png)
"""

DATA_MEANINGS = {
    True: "A high AUC on this dataset is not evidence of a good model by itself: part of it can be reached without "
    "using the lungs. The AUC among matched images, below, shows what remains.",
    False: "The predictors tested here find no shortcut in this dataset. Other shortcuts cannot be excluded.",
}
"""By alarm of the data audit."""

MODEL_MEANINGS = {
    Outcome.PASS: "A model that passes separates the classes also where the tested properties do not help.",
    Outcome.FAIL: "A model that fails may rely on a shortcut: do not expect the same performance on images from "
    "another source. A failure does not prove a shortcut: the size of an image, for example, also depends on the size "
    "of the child.",
    Outcome.INCONCLUSIVE: "A model whose audit is inconclusive has too few matched images or patients for a verdict; "
    "this is not a pass.",
}
"""By verdict of a model audit."""


def markdown(data: DataAudit, models: Mapping[str, ModelAudit]) -> str:
    """Return the page as Markdown; its pictures lie in figures/ beside it.

    Args:
        data: audit of the dataset.
        models: audits by model, at least one; all with the same limits.
    """
    verdicts = [verdict for verdict in Outcome if verdict in {model.verdict for model in models.values()}]
    summary = SUMMARY.format(
        alarm="ALARM" if data.alarm else "no alarm",
        data=describe_data(data),
        models="\n".join(f"- `{name}`: {_describe_model(model)}" for name, model in models.items()),
        meaning=" ".join([DATA_MEANINGS[data.alarm], *(MODEL_MEANINGS[verdict] for verdict in verdicts)]),
    )
    limits = next(iter(models.values())).limits
    sections = [summary, _data_section(data), _method(limits), *(_model_section(*item) for item in models.items())]
    return "\n".join(sections)


def describe_data(data: DataAudit) -> str:
    """Return one sentence on the predictors that raise the alarm."""
    if not data.alarm:
        return (
            "No property of the files, and nothing in the outermost frame of the images, separates the classes with "
            f"an AUC whose interval lies above {data.limit:.2f} (0.5 is chance, 1 is perfect)."
        )
    described = []
    for part in PARTS:
        alarming = {
            name: predictor.on(part).auc for name, predictor in data.predictors.items() if predictor.on(part).alarm
        }
        if alarming:
            best = max(alarming, key=lambda name: abs(alarming[name].value - 0.5))
            count = f"{len(alarming)} of {sum(predictor.can_alarm for predictor in data.predictors.values())}"
            described.append(f"on {part} {count}, best {NAMES[best]} with an AUC of {interval(alarming[best])}")
        else:
            described.append(f"on {part} none")
    return (
        f"Predictors that do not use the lungs separate the classes: {'; '.join(described)} "
        "(0.5 is chance, 1 is perfect)."
    )


def _describe_model(model: ModelAudit) -> str:
    text = f"**{model.verdict}**, with an AUC of {interval(model.auc)} on all images."
    for outcome, lead in ((Outcome.FAIL, "Failed"), (Outcome.INCONCLUSIVE, "Inconclusive")):
        reasons = list(_reasons(model, outcome))
        if reasons:
            text += f" {lead}: {'; '.join(reasons)}."
    return text


def _reasons(model: ModelAudit, outcome: Outcome) -> Iterator[str]:
    for name, matched in model.matched.items():
        if matched.outcome == outcome:
            figure = f"AUC {interval(matched.auc)}" if matched.auc else f"{matched.pairs} pairs"
            yield f"images matched by {NAMES[name]}, {figure}"
    for label, correlations in model.correlations.items():
        for name, entry in correlations.items():
            if entry.outcome == outcome and entry.correlation:
                yield f"correlation with {NAMES[name]} within {label}, {interval(entry.correlation)}"
    for name, change in model.perturbations.items():
        if change.outcome == outcome:
            yield f"{NAMES[name]}, which changes {change.flipped.value:.1%} of the decisions"


def _data_section(data: DataAudit) -> str:
    rows = []
    for name, predictor in data.predictors.items():
        alarms = ", ".join(part for part in PARTS if predictor.on(part).alarm)
        cells = (NAMES[name], predictor.higher_in, *(interval(predictor.on(part).auc) for part in PARTS))
        rows.append(row(*cells, alarms or ("no" if predictor.can_alarm else "(never)")))
    return DATA.format(
        counts=", ".join(f"{part} {data.images[part]:,} of {data.patients[part]:,} patients" for part in PARTS),
        border=data.border,
        limit=data.limit,
        mirror=1 - data.limit,
        rows="\n".join(rows),
    )


def _method(limits: AuditLimits) -> str:
    calipers = ", or ".join(f"{share:.0%} in {NAMES[name]}" for name, share in limits.calipers.model_dump().items())
    return MODELS.format(**limits.model_dump(exclude={"calipers"}), calipers=calipers)


def _model_section(name: str, model: ModelAudit) -> str:
    lines = [
        f"### {name}: {model.verdict}",
        "",
        f"AUC of all {model.images} images of {model.patients} patients: {interval(model.auc)}.",
        "",
        *_matched_table(model),
        "",
        *_correlation_table(model),
        "",
    ]
    if model.perturbations:
        lines += [*_perturbation_table(model), ""]
    return "\n".join(lines)


def _matched_table(model: ModelAudit) -> Iterator[str]:
    yield from head("matched by", "pairs", "patients NORMAL / PNEUMONIA", "AUC", "property", "outcome")
    for name, entry in model.matched.items():
        patients = " / ".join(str(count) for count in entry.patients.values())
        figures = (interval(auc) if auc else "-" for auc in (entry.auc, entry.property_auc))
        few = " (too few patients)" if entry.outcome == Outcome.INCONCLUSIVE else ""
        yield row(NAMES[name], f"{entry.pairs:,}", patients, *figures, f"{entry.outcome}{few}")


def _correlation_table(model: ModelAudit) -> Iterator[str]:
    labels = list(model.correlations)
    yield from head("correlation with", *(cell for label in labels for cell in (f"within {label}", "outcome")))
    for name in model.correlations[labels[0]]:
        cells = []
        for label in labels:
            entry = model.correlations[label][name]
            cells += [interval(entry.correlation) if entry.correlation else "constant", _outcome(entry.outcome)]
        yield row(NAMES[name], *cells)


def _perturbation_table(model: ModelAudit) -> Iterator[str]:
    yield from head(
        "perturbation", "absolute change of probability", "change", "decisions changed", "AUC change", "outcome"
    )
    for name, entry in model.perturbations.items():
        yield row(
            NAMES[name],
            interval(entry.mean_absolute_change),
            f"{entry.mean_change.value:+.3f}",
            interval(entry.flipped),
            interval(entry.auc_change),
            _outcome(entry.outcome),
        )


def _outcome(outcome: Outcome | None) -> str:
    return "(no criterion)" if outcome is None else outcome.value
