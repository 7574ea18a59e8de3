"""What a version's page in the MLflow UI says: what the model is, and below that how the gate judged it."""

from collections.abc import Mapping

from pneumonia.evaluation.selection import Metrics
from pneumonia.models.bundle import Bundle
from pneumonia.tracking import RunDescription

_PROMOTION = "\n\n## Promotion\n\n"


def with_facts(known: str, facts: str) -> str:
    """Return a description with new facts; what it says of the promotion stays."""
    return facts + "".join(known.partition(_PROMOTION)[1:])


def with_promotion(known: str, told: str) -> str:
    """Return a description that says ``told`` of the promotion; the facts stay."""
    return f"{known.partition(_PROMOTION)[0]}{_PROMOTION}{told}"


def with_news(known: str, news: str) -> str:
    """Return a description that says ``news`` before all that it says of the promotion."""
    return with_promotion(known, f"{news}\n\n{known.partition(_PROMOTION)[2]}".rstrip())


def facts(bundle: Bundle, metrics: Mapping[str, Metrics]) -> str:
    """Describe a bundle in Markdown: what it is, a table of its figures by subset, its data and its code."""
    card, data = bundle.card, bundle.card.data
    warning = (
        ["**Trained on phantoms: it says nothing about patients.**", ""]
        if RunDescription.of(bundle).is_phantom
        else []
    )
    figures = sorted({metric for values in metrics.values() for metric in values})
    return "\n".join(
        [
            *warning,
            f"Model `{card.name}` ({card.kind}), {card.image_size} x {card.image_size} pixels, "
            f"operating point {card.threshold:.4f}.",
            "",
            f"| | {' | '.join(metrics)} |",
            f"|---|{'---|' * len(metrics)}",
            *(
                f"| {figure} | {' | '.join(_cell(values.get(figure)) for values in metrics.values())} |"
                for figure in figures
            ),
            "",
            f"Data: {data.source} {data.release}, hash `{data.data_hash}`. "
            f"Code: `{card.git_commit or 'outside of git'}`.",
        ]
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
