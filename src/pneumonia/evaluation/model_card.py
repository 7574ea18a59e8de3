"""The model card: what a model is, what it is for, what it was found to be worth, and where not to believe it.

Its sections are those of Mitchell et al., Model Cards for Model Reporting (FAT* 2019). Every number is taken from a
record that the pipeline wrote; nothing is measured here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pneumonia.data.definition import Definition
from pneumonia.errors import BundleError
from pneumonia.evaluation.intervals import DECIMALS
from pneumonia.evaluation.markdown import head, interval, row
from pneumonia.evaluation.shortcuts_model import FAIL, UNKNOWN
from pneumonia.evaluation.shortcuts_report import MEANINGS, NAMES, PARTS, data_sentences
from pneumonia.labels import CLASS_NAMES, POSITIVE, SUBSETS
from pneumonia.models.bundle import Card

Record = Mapping[str, Any]

LICENCE = "Apache-2.0"

KINDS = {
    "probe": "logistic regression on the frozen features of a pretrained network",
    "cnn": "small convolutional network, trained from scratch",
    "finetune": "pretrained convolutional network, fine-tuned",
}

FIGURES = {
    "roc_auc": "ROC AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
}
"""Shown of a subset; predictive values are shown by prevalence instead."""

ANSWERED = ("sensitivity", "specificity", "accuracy")
"""Shown once more of the images outside of the band."""

SLICED = ("roc_auc", "sensitivity", "specificity")

TOLD_ELSEWHERE = ("kind", "image_size", "calibration", "operating_point.", "split.")
"""Starts of the parameters that are no choice of architecture or training, or have a line of their own."""

PHANTOM = """\
> **A phantom model: it says nothing about patients.** It has learnt from drawings and was judged on drawings. Every
> figure below is about drawings.
"""

INTENDED = """\
## Intended use

{use}

**Users:** {users}.

**Not for:**

- diagnosis, triage, screening or any other decision about a patient; no regulator has seen it;
- {others}
- images in another projection, of another part of the body, or photographs of a screen;
- telling bacterial from viral pneumonia, or finding any other disease: it knows two classes alone, and NORMAL means no
  more than that it sees no pneumonia;
- probabilities taken at face value where pneumonia is rarer or more frequent than among its images.
"""

PHANTOM_USE = "Trying out and testing the pipeline where no radiographs are at hand"
RESEARCH_USE = (
    "Research and teaching: a documented baseline on its dataset, and an example of how a model is judged. Its "
    "answers may be compared with those of readers and other models, in retrospect, on images with a known diagnosis"
)

OTHERS = {
    "phantom": "radiographs of any kind;",
    "kermany": "adults, infants, adolescents, and children of other hospitals, unless it has been validated there;",
}
ANY_OTHERS = "people and hospitals other than those of its training images, unless it has been validated there;"

SUBSET_MEANINGS = {
    "validation": "patients held out of the development images. Calibration, operating point and band were chosen on "
    "these images and the swapped ones, and training may have been stopped by these, so that figures on both flatter.",
    "swapped": "the same validation images, those of each class cropped to the aspect ratio that is typical of the "
    "other class. The shape of the film gives the class away in data like these; here it points the wrong way, so "
    "that a model that lives off it loses.",
    "test": "{test}. The pipeline chooses nothing on it.",
}

KERMANY_LIMITS = """\
- One hospital (Guangzhou Women and Children's Medical Center), one age group (one to five years), anterior-posterior
  view. Labels come from reading the radiograph itself, not from a culture or the course of the disease.
- The test set is public and has been in use since 2018: whoever works on this pipeline has seen figures on it, so a
  little of its independence is lost even where nothing is chosen on it.
"""

ANY_LIMITS = """\
- No external validation: the test images come from where the training images come from.
- Two classes. Images of other diseases, of devices or of bad quality were not looked at on their own.
- {prevalence:.0%} of the test images are {positive}, far from the share in most clinics. Read the predictive values
  at your own prevalence, and mind that sensitivity and specificity move as well with another mix of patients.
- Intervals tell of chance in the choice of patients. They know nothing of other hospitals, and nothing of what another
  training run would have given.
- Age, sex and origin of the patients are not recorded per image, so that fairness between such groups is unknown.
"""

REPRODUCE = """\
## To get it again

With the code at commit `{commit}` and the data of the hash above:

```console
{command}
```

This page is generated from the bundle's card, its judgement, the shortcut audit and the comparison. Figures are given
to three decimals; the records have more.
"""


def render(
    card: Card,
    judgement: Record,
    shortcuts: Record,
    comparison: Record | None = None,
    *,
    published: Definition | None = None,
    command: str = "dvc repro",
) -> str:
    """Write the card of a model.

    Args:
        card: of its bundle.
        judgement: of the same model, as `judgement.judge` returns it.
        shortcuts: as `shortcuts_report.assemble` returns it; the model may be missing from it.
        comparison: as `judgement.compare` returns it, and maybe with ``chosen_by``; a model that is missing from it is
            told without a comparison.
        published: the dataset, where the model has learnt from the published one.
        command: the shell command that makes the model.

    Raises:
        BundleError: the judgement is of another model, or of an earlier training of this one.
    """
    _check(card, judgement)
    sections = [
        _title(card),
        _summary(card, judgement),
        _details(card),
        _intended(card),
        _training_data(card, published),
        _evaluation_data(card, judgement),
        _figures(card, judgement),
        _comparison(card.name, comparison),
        _shortcuts(card.name, shortcuts),
        _limits(card, judgement),
        REPRODUCE.format(commit=card.git_commit or "unknown", command=command),
    ]
    return "\n".join(section for section in sections if section)


def _check(card: Card, judgement: Record) -> None:
    judged = judgement["model"], judgement["operating_point"]["threshold"]
    expected = card.name, round(card.threshold, DECIMALS)
    if judged != expected:
        raise BundleError(
            f"Expected the judgement of model and threshold {expected}, got that of {judged}. "
            "Run `dvc repro evaluate` to judge the bundle that is there."
        )


def _title(card: Card) -> str:
    mark = f"\n{PHANTOM}" if card.data.source == "phantom" else ""
    return f"# Model card: {card.name}\n{mark}\n**Research software, not a medical device.**\n"


def _summary(card: Card, judgement: Record) -> str:
    test = judgement["subsets"]["test"]
    figures, coverage = test["figures"], test["band"]["coverage"]
    of = "a drawn chest" if card.data.source == "phantom" else "a chest radiograph"
    return (
        f"From {of} it computes the probability of {POSITIVE}, and answers {' or '.join(CLASS_NAMES)}.\n\n"
        f"On the test set it calls {_percent(figures.get('sensitivity'))} of the images with pneumonia {POSITIVE}, "
        f"and {_percent(figures.get('specificity'))} of the others {CLASS_NAMES[0]}. It is sure enough to answer for "
        f"{_percent(coverage)} of the images; the others it calls INDETERMINATE. Read this together with what the "
        "shortcut audit found, below.\n"
    )


def _details(card: Card) -> str:
    size, band = card.image_size, card.band
    told = {name: value for name, value in card.parameters.items() if not name.startswith(TOLD_ELSEWHERE)}
    augment = {name: told.pop(name) for name in list(told) if name.startswith("augment.")}
    minimum = card.parameters.get("operating_point.minimum_sensitivity")
    chosen = f": the highest specificity at a sensitivity of at least {minimum}, there too" if minimum else ""
    rows = {
        "Name": f"`{card.name}`",
        "Kind": f"{card.kind}: {KINDS.get(card.kind, 'see the parameters')}",
        "Parameters": _listed(told),
        "Augmentation": _listed({name.removeprefix("augment."): value for name, value in augment.items()}),
        "Input": f"one chest radiograph (JPEG, PNG or DICOM), as grey levels, stretched to {size} x {size} pixels",
        "Output": f"the probability of {POSITIVE}, and a decision",
        "Calibration": f"{_calibration(card)}, fitted on `validation` and `swapped` together",
        "Operating point": f"{POSITIVE} from a probability of {card.threshold:.3f}{chosen}",
        "Indeterminate": f"from {band.low:.3f} to below {band.high:.3f}" if band.low < band.high else "never",
        "Version": f"weights `{card.model_sha256}` (SHA-256), code at commit `{card.git_commit or 'unknown'}`",
        "Licence": f"{LICENCE}, see LICENSE; the data have their own",
    }
    lines = [*head("", ""), *(row(name, text) for name, text in rows.items() if text)]
    return "\n".join(["## Model details", "", *lines, ""])


def _calibration(card: Card) -> str:
    fitted = card.calibration
    values = {
        "none": "",
        "temperature": f" (temperature {fitted.temperature:.3f})",
        "platt": f" (temperature {fitted.temperature:.3f}, intercept {fitted.intercept:.3f})",
        "isotonic": f" ({len(fitted.knots)} knots)",
    }
    return fitted.method + values[fitted.method]


def _intended(card: Card) -> str:
    phantom = card.data.source == "phantom"
    return INTENDED.format(
        use=f"{PHANTOM_USE if phantom else RESEARCH_USE}.",
        users="developers of the pipeline" if phantom else "researchers and engineers who can judge such figures",
        others=OTHERS.get(card.data.source, ANY_OTHERS),
    )


def _training_data(card: Card, published: Definition | None) -> str:
    data = card.data
    lines = [
        f"Source: `{data.source}`{f', release `{data.release}`' if data.release else ''}. Content hash:",
        f"`{data.data_hash}`.",
        "",
        *head("images", *CLASS_NAMES),
        *(row(name, *(f"{data.counts[name][label]:,}" for label in CLASS_NAMES)) for name in _subsets(data.counts)),
        "",
    ]
    if published:
        lines += [f"{published.citation}. Licence: {published.licence}. More in DATA_CARD.md.", ""]
    return "\n".join(
        [
            "## Training data",
            "",
            *lines,
            "It has learnt from `train` alone. Images of one patient, and identical images, lie in one subset.",
            "",
        ]
    )


def _evaluation_data(card: Card, judgement: Record) -> str:
    official = "the dataset's official test set" if card.data.source == "kermany" else "images set apart for it"
    lines = [
        f"- `{name}`: {_counts(subset)}; {SUBSET_MEANINGS[name].format(test=official)}"
        for name, subset in judgement["subsets"].items()
    ]
    return "\n".join(["## Evaluation data", "", *lines, ""])


def _figures(card: Card, judgement: Record) -> str:
    bootstrap, subsets = judgement["bootstrap"], judgement["subsets"]
    lines = [
        "## Figures",
        "",
        f"In brackets {bootstrap['level']:.0%} intervals, from a bootstrap over patients "
        f"({bootstrap['resamples']:,} resamples); a figure without them has none that can be told.",
        "",
        *_headline_table(subsets),
        "",
        "*Answered*: the images outside of the indeterminate band; the lines below it are about these alone.",
        "",
        "### What an answer is worth",
        "",
        "The share of PNEUMONIA answers (PPV) and of NORMAL answers (NPV) that are right where so many of the images "
        "have pneumonia; with the sensitivity and specificity of the test set, and no answer withheld.",
        "",
        *_predictive_table(subsets["test"]["predictive_values"]),
        "",
        "### Calibration",
        "",
        "How far the probabilities can be believed, before and after the calibration; less is better. ECE: the "
        "expected calibration error.",
        "",
        *_calibration_table(subsets),
        "",
        "### Slices of the test set",
        "",
        "A cause stands for its pneumonia against all NORMAL images; sizes are thirds of the development images.",
        "",
        *_slice_table(subsets["test"]["slices"]),
        "",
    ]
    return "\n".join(lines)


def _headline_table(subsets: Record) -> Iterator[str]:
    yield from head("", *subsets)
    for name, title in FIGURES.items():
        yield row(title, *(_figure(subset["figures"], name) for subset in subsets.values()))
    yield row("answered", *(interval(subset["band"]["coverage"]) for subset in subsets.values()))
    for name in ANSWERED:
        cells = (_figure(subset["band"]["figures"], name) for subset in subsets.values())
        yield row(f"{FIGURES[name]}, answered", *cells)


def _predictive_table(by_prevalence: Record) -> Iterator[str]:
    yield from head("prevalence", "PPV", "NPV")
    for prevalence, values in by_prevalence.items():
        yield row(f"{float(prevalence):.0%}", _figure(values, "ppv"), _figure(values, "npv"))


def _calibration_table(subsets: Record) -> Iterator[str]:
    errors = {"loss": "log loss", "brier": "Brier score", "ece": "ECE"}
    yield from head("", *errors.values())
    for name, subset in subsets.items():
        for when in ("before", "after"):
            yield row(f"{name}, {when}", *(f"{subset['calibration'][when][error]:.3f}" for error in errors))


def _slice_table(slices: Record) -> Iterator[str]:
    yield from head("slice", "images NORMAL / PNEUMONIA", "patients", *(FIGURES[name] for name in SLICED), "warning")
    for kind, by_name in slices.items():
        for name, found in by_name.items():
            figures = (_figure(found["figures"], figure) for figure in SLICED)
            counts = (
                " / ".join(f"{found[unit][label]:,}" for label in CLASS_NAMES) for unit in ("images", "patients")
            )
            yield row(f"{kind}: {name}", *counts, *figures, found["warning"] or "")


def _comparison(name: str, comparison: Record | None) -> str:
    """Write the differences to the other models; none where it was not compared."""
    if comparison is None or name not in (comparison["reference"], *comparison["models"]):
        return ""
    reference, others = comparison["reference"], comparison["models"]
    chosen = f", which has the best {comparison['chosen_by']}" if "chosen_by" in comparison else ""
    shown = others if name == reference else {name: others[name]}
    lines = [
        "## Compared with the other models",
        "",
        f"Reference: `{reference}`{chosen}. Differences are model less reference, on the same images and resamples; "
        "p is that of the AUC, by DeLong's test.",
        "",
        *head("model", "subset", *(f"{FIGURES[figure]}" for figure in SLICED), "p"),
    ]
    for model, subsets in shown.items():
        for subset, found in subsets.items():
            p = found["delong"]["p"]
            differences = (_figure(found["differences"], figure) for figure in SLICED)
            lines.append(row(f"`{model}`", subset, *differences, "–" if p is None else f"{p:.2g}"))
    return "\n".join([*lines, ""]) if shown else ""


def _shortcuts(name: str, shortcuts: Record) -> str:
    data, model = shortcuts["data"], shortcuts["models"].get(name)
    lines = [
        "## Shortcuts",
        "",
        "A model may learn how the files of the two classes were made instead of the disease. So it was asked whether "
        "the classes can be told apart without looking at a lung, and what the model does with that.",
        "",
        f"**The data: {'ALARM' if data['alarm'] else 'no alarm'}.** {data_sentences(data)} {MEANINGS[data['alarm']]}",
        "",
        f"AUC of witnesses that see no lung. Alarm: an interval lies wholly above {data['limit']:.2f} or below "
        f"{1 - data['limit']:.2f}; these intervals hold at 95% for all witnesses together.",
        "",
        *_witness_table(data),
        "",
        *(_model_verdict(model, shortcuts["limits"]) if model else [f"**The model:** `{name}` was not audited."]),
        "",
    ]
    return "\n".join(lines)


def _witness_table(data: Record) -> Iterator[str]:
    yield from head("witness", *PARTS, "alarm")
    for name, witness in data["witnesses"].items():
        if witness["can_alarm"]:
            figures = (interval(witness[part], "auc") for part in PARTS)
            alarms = ", ".join(part for part in PARTS if witness[part]["alarm"]) or "no"
            yield row(NAMES[name], *figures, alarms)


def _model_verdict(model: Record, limits: Record) -> Iterator[str]:
    criteria = list(_criteria(model, limits))
    yield f"**The model: {model['verdict']}.** {MEANINGS[model['verdict']]}"
    yield f"Its AUC on all test images is {interval(model['auc'])}."
    for outcome, lead in ((FAIL, "It fails"), (UNKNOWN, "It cannot be told for")):
        names = [criterion for criterion, *_, found in criteria if found == outcome]
        if names:
            yield f"{lead} {len(names)} of {len(criteria)} criteria: {'; '.join(names)}."
    yield ""
    yield "The unfavourable end of each interval has to keep the limit."
    yield ""
    yield from head("criterion", "found", "limit", "outcome")
    for criterion, found, limit, outcome in criteria:
        yield row(criterion, found, limit, f"**{outcome}**" if outcome == FAIL else outcome)


def _criteria(model: Record, limits: Record) -> Iterator[tuple[str, str, str, str]]:
    """Yield what was asked of the model, what was found, the limit and the outcome."""
    for fact, entry in model["matched"].items():
        found = interval(entry["auc"]) if "auc" in entry else f"{entry['pairs']:,} pairs, too few patients"
        limit = f"at least {limits['minimum_matched_auc']:.2f}"
        yield f"AUC among images alike in {NAMES[fact]}", found, limit, entry["outcome"]
    for label, facts in model["follows"].items():
        for fact, entry in facts.items():
            if "outcome" in entry:
                found = interval(entry["correlation"]) if "correlation" in entry else "the same in all"
                limit = f"within ±{limits['maximum_correlation']:.2f}"
                yield f"correlation of score and {NAMES[fact]} within {label}", found, limit, entry["outcome"]
    for name, entry in model.get("perturbations", {}).items():
        if "outcome" in entry:
            found = "<br>".join(
                (
                    f"probability moves by {interval(entry['mean_absolute_change'])}",
                    f"decisions turned {interval(entry['flipped'])}",
                    f"AUC change {interval(entry['auc_change'])}",
                )
            )
            limit = "<br>".join(
                (
                    f"at most {limits['maximum_change']:.2f}",
                    f"at most {limits['maximum_flipped']:.2f}",
                    f"at least {-limits['maximum_auc_loss']:.2f}",
                )
            )
            yield f"the same image as {NAMES[name]}", found, limit, entry["outcome"]


def _limits(card: Card, judgement: Record) -> str:
    images = judgement["subsets"]["test"]["images"]
    limits = ANY_LIMITS.format(prevalence=images[POSITIVE] / sum(images.values()), positive=POSITIVE)
    return f"## Limits\n\n{KERMANY_LIMITS if card.data.source == 'kermany' else ''}{limits}"


def _subsets(counts: Record) -> list[str]:
    return [name for name in SUBSETS if name in counts]


def _counts(found: Record) -> str:
    return ", ".join(
        f"{found['images'][label]:,} {label} of {found['patients'][label]:,} patients" for label in CLASS_NAMES
    )


def _figure(figures: Record, name: str) -> str:
    return interval(figures[name]) if name in figures else "–"


def _percent(figure: Record | None) -> str:
    if figure is None:
        return "an unknown share"
    ends = "" if figure["low"] is None else f" ({figure['low']:.1%} to {figure['high']:.1%})"
    return f"{figure['value']:.1%}{ends}"


def _listed(parameters: Record) -> str:
    return ", ".join(f"{name} {value}" for name, value in parameters.items())
