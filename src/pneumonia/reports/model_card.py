"""The model card: what a model is, its intended use, its evaluation and its limits.

The sections follow Mitchell et al., Model Cards for Model Reporting (FAT* 2019). Every number comes from a report of
the pipeline.
"""

from collections.abc import Mapping

from pneumonia.audit.audit_report import DataAudit, ModelAudit
from pneumonia.bundle.bundle import Card
from pneumonia.core.errors import BundleError
from pneumonia.core.estimate import Estimate
from pneumonia.core.labels import CLASS_NAMES, POSITIVE, SUBSETS
from pneumonia.core.markdown import head, row
from pneumonia.data.definition import Definition
from pneumonia.evaluation.comparison_report import ComparisonReport
from pneumonia.evaluation.evaluation_report import EvaluationReport, SubsetReport
from pneumonia.reports import model_card_text as text
from pneumonia.reports.model_card_results import comparison_section, metrics_section
from pneumonia.reports.model_card_shortcuts import shortcuts_section


def render(
    card: Card,
    evaluation: EvaluationReport,
    data_audit: DataAudit,
    model_audit: ModelAudit | None = None,
    comparison: ComparisonReport | None = None,
    *,
    published: Definition | None = None,
    command: str = "dvc repro",
) -> str:
    """Return the model card as Markdown.

    Args:
        card: of the model's bundle.
        evaluation: evaluation report of the same bundle.
        data_audit: audit of its dataset.
        model_audit: its shortcut audit, None where it was not audited.
        comparison: with other models; left out where the model is not in it.
        published: definition of the dataset, for a model trained on the published one.
        command: the shell command that makes the model.

    Raises:
        BundleError: the evaluation report is of another bundle.
    """
    _check(card, evaluation)
    sections = [
        _title(card),
        _summary(card, evaluation.subsets["test"]),
        _details(card),
        _intended_use(card),
        _training_data(card, published),
        _evaluation_data(card, evaluation),
        metrics_section(evaluation),
        comparison_section(card.name, comparison) if comparison else "",
        shortcuts_section(card.name, data_audit, model_audit),
        _limits(card, evaluation.subsets["test"]),
        text.REPRODUCE.format(command=command),
    ]
    return "\n".join(section for section in sections if section)


def _check(card: Card, evaluation: EvaluationReport) -> None:
    received, expected = (evaluation.model, evaluation.bundle_sha256), (card.name, card.sha256)
    if received != expected:
        raise BundleError(
            f"expected the evaluation report of {expected[0]} {expected[1][:12]}, got that of {received[0]} "
            f"{received[1][:12]}. Run `dvc repro evaluate` to evaluate the current bundle."
        )


def _title(card: Card) -> str:
    mark = f"\n{text.PHANTOM}" if card.data.source == "phantom" else ""
    return f"# Model card: {card.name}\n{mark}\n**Research software, not a medical device.**\n"


def _summary(card: Card, test: SubsetReport) -> str:
    image = "drawn radiograph" if card.data.source == "phantom" else "chest radiograph"
    return (
        f"Input is a {image}; output is the probability of {POSITIVE} and a decision, {' or '.join(CLASS_NAMES)}.\n\n"
        f"On the test set it calls {_percent(test.figures.get('sensitivity'))} of the images with pneumonia "
        f"{POSITIVE}, and {_percent(test.figures.get('specificity'))} of the others {CLASS_NAMES[0]}. It gives a "
        f"decision for {_percent(test.band.coverage)} of the images; the others are INDETERMINATE. Read these figures "
        "together with the results of the shortcut audit below.\n"
    )


def _details(card: Card) -> str:
    size, band = card.image_size, card.band
    shown = {name: value for name, value in card.parameters.items() if not name.startswith(text.OTHER_PARAMETERS)}
    augment = {name: shown.pop(name) for name in list(shown) if name.startswith("augment.")}
    minimum = card.parameters.get("operating_point.minimum_sensitivity")
    chosen = f": the highest specificity at a sensitivity of at least {minimum}, on the same images" if minimum else ""
    rows = {
        "Name": f"`{card.name}`",
        "Kind": f"{card.kind}: {text.KINDS.get(card.kind, 'see the parameters')}",
        "Parameters": _listed(shown),
        "Augmentation": _listed({name.removeprefix("augment."): value for name, value in augment.items()}),
        "Input": f"one chest radiograph (JPEG, PNG or DICOM), as grey levels, stretched to {size} x {size} pixels",
        "Output": f"the probability of {POSITIVE}, and a decision",
        "Calibration": f"{_calibration(card)}, fitted on validation and aspect-swapped images together",
        "Operating point": f"{POSITIVE} from a probability of {card.threshold:.3f}{chosen}",
        "Indeterminate": f"from {band.low:.3f} to below {band.high:.3f}" if band.low < band.high else "never",
        "Version": f"bundle `{card.sha256}`, weights `{card.model_sha256}` (SHA-256)",
        "Licence": f"{text.LICENCE}, see LICENSE; the data have their own",
    }
    lines = [*head("", ""), *(row(name, content) for name, content in rows.items() if content)]
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


def _intended_use(card: Card) -> str:
    phantom = card.data.source == "phantom"
    return text.INTENDED.format(
        use=f"{text.PHANTOM_USE if phantom else text.RESEARCH_USE}.",
        users="developers of the pipeline" if phantom else "researchers and engineers who can interpret such figures",
        others=text.OTHERS.get(card.data.source, text.ANY_OTHERS),
    )


def _training_data(card: Card, published: Definition | None) -> str:
    data = card.data
    subsets = [name for name in SUBSETS if name in data.counts]
    lines = [
        f"Source: `{data.source}`{f', release `{data.release}`' if data.release else ''}. Content hash:",
        f"`{data.data_hash}`.",
        "",
        *head("images", *CLASS_NAMES),
        *(row(name, *(f"{data.counts[name][label]:,}" for label in CLASS_NAMES)) for name in subsets),
        "",
    ]
    if published:
        lines += [f"{published.citation}. Licence: {published.licence}. More in DATA_CARD.md.", ""]
    return "\n".join(
        [
            "## Training data",
            "",
            *lines,
            "The model is trained on `train` only. Images of one patient, and identical images, are in one subset.",
            "",
        ]
    )


def _evaluation_data(card: Card, evaluation: EvaluationReport) -> str:
    official = "the dataset's official test set" if card.data.source == "kermany" else "images set apart for testing"
    lines = [
        f"- `{name}`: {_counts(subset)}; {text.SUBSET_MEANINGS[name].format(test=official)}"
        for name, subset in evaluation.subsets.items()
    ]
    return "\n".join(["## Evaluation data", "", *lines, ""])


def _limits(card: Card, test: SubsetReport) -> str:
    limits = text.ANY_LIMITS.format(prevalence=test.images[POSITIVE] / sum(test.images.values()), positive=POSITIVE)
    return f"## Limits\n\n{text.KERMANY_LIMITS if card.data.source == 'kermany' else ''}{limits}"


def _counts(subset: SubsetReport) -> str:
    return ", ".join(
        f"{subset.images[label]:,} {label} of {subset.patients[label]:,} patients" for label in CLASS_NAMES
    )


def _percent(figure: Estimate | None) -> str:
    if figure is None:
        return "an unknown share"
    ends = "" if figure.low is None else f" ({figure.low:.1%} to {figure.high:.1%})"
    return f"{figure.value:.1%}{ends}"


def _listed(parameters: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parameters.items())
