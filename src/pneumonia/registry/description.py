"""Description of a model version for the MLflow UI, in Markdown: first the model, then its promotion."""

from collections.abc import Mapping

from pneumonia.bundle.bundle import Bundle
from pneumonia.evaluation.selection import Metrics
from pneumonia.registry.tracking import RunDescription

_PROMOTION = "\n\n## Promotion\n\n"


def describe_model(bundle: Bundle, metrics: Mapping[str, Metrics], git_commit: str | None) -> str:
    """Return the part on the model: what it is, a table of metrics by subset, its data and its code.

    Args:
        bundle: the model.
        metrics: value of each metric per subset.
        git_commit: commit of the code, None where it is not known.
    """
    card, data = bundle.card, bundle.card.data
    warning = (
        ["**Trained on phantoms: its metrics do not apply to patients.**", ""]
        if RunDescription.of(bundle).is_phantom
        else []
    )
    names = sorted({name for values in metrics.values() for name in values})
    return "\n".join(
        [
            *warning,
            f"Model `{card.name}` ({card.kind}), {card.image_size} x {card.image_size} pixels, "
            f"operating point {card.threshold:.4f}.",
            "",
            f"| | {' | '.join(metrics)} |",
            f"|---|{'---|' * len(metrics)}",
            *(f"| {name} | {' | '.join(_cell(values.get(name)) for values in metrics.values())} |" for name in names),
            "",
            f"Data: {data.source} {data.release}, hash `{data.data_hash}`. Code: `{git_commit or 'unknown commit'}`.",
        ]
    )


def replace_model(description: str, model: str) -> str:
    """Return a description whose part on the model is replaced; the part on the promotion is kept."""
    return model + "".join(description.partition(_PROMOTION)[1:])


def replace_promotion(description: str, promotion: str) -> str:
    """Return a description whose part on the promotion is replaced; the part on the model is kept."""
    return f"{description.partition(_PROMOTION)[0]}{_PROMOTION}{promotion}"


def prepend_promotion(description: str, text: str) -> str:
    """Return a description with a text before the present part on the promotion."""
    return replace_promotion(description, f"{text}\n\n{description.partition(_PROMOTION)[2]}".rstrip())


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
