"""What is said of a study and of the model, put together from engine, bundle and evaluation."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from pneumonia import serving
from pneumonia.app.engine import Study
from pneumonia.app.schemas import (
    Band,
    ImageFacts,
    Meaning,
    ModelCard,
    ModelFacts,
    Prediction,
    Refusal,
    Swap,
)
from pneumonia.app.store import Entry
from pneumonia.app.swap import CurrentModel, Model
from pneumonia.evaluation.gate import PHANTOM
from pneumonia.evaluation.model_card import ANY_LIMITS, KERMANY_LIMITS
from pneumonia.inference.files import INDETERMINATE
from pneumonia.labels import POSITIVE
from pneumonia.models.bundle import Card
from pneumonia.monitoring.record import Answering, Record, record

PHANTOM_LIMITS = "- Trained on drawn images: it says nothing about patients.\n"
WITHHELD: dict[str, None] = dict.fromkeys(("decision", "probability", "familiarity", "meaning"))


def entry(study: Study, name: str, *, hidden: bool) -> Entry:
    """Return what is said and stored of a study, under a fresh id.

    Args:
        study: what came of the image.
        name: of the file, as its sender calls it.
        hidden: whether its reader wants to judge before the model's answer is given out.
    """
    card, intake, reading = study.model.runtime.bundle.card, study.intake, study.reading
    answer = reading if study.status == "answered" else None
    prediction = Prediction.model_validate(
        {
            "id": uuid4(),
            "created": datetime.now(UTC),
            "file": name,
            "status": study.status,
            "decision": answer and (INDETERMINATE if answer.indeterminate else answer.label),
            "probability": answer and answer.probability,
            "threshold": card.threshold,
            "band": _band(card),
            "familiarity": reading and reading.familiarity,
            "refusal": study.refusal and Refusal(code=study.refusal.code, reason=study.refusal.reason),
            "warnings": reading.warnings if reading else [],
            "image": intake
            and ImageFacts(format=intake.format, width=intake.width, height=intake.height, view=intake.view),
            "model": facts(study.model),
            "meaning": answer and _meaning(study.model, answer.probability),
            "feedback": [],
            "hidden": hidden and answer is not None,
        }
    )
    embedding = tuple(float(component) for component in reading.embedding) if reading else None
    return Entry(prediction, intake.patient_identifier if intake else None, embedding)


def logged(study: Study, prediction: Prediction) -> Record:
    """Return what the log keeps of a study, under the id of what was said of it."""
    model = study.model
    return record(
        Answering.of(model.runtime.bundle.card, model.choice.version),
        study.intake,
        study.reading,
        study.refusal.code if study.refusal else None,
        id=prediction.id,
        source="app",
        latency_ms=study.latency_ms,
        time=prediction.created,
    )


def shown(prediction: Prediction, file: str | None = None) -> Prediction:
    """Return a prediction as its reader may see it now, with the file's name where it is known."""
    withheld = WITHHELD if prediction.hidden else {}
    return prediction.model_copy(update=withheld | ({"file": file} if file else {}))


def facts(model: Model) -> ModelFacts:
    """Return which model it is."""
    card = model.runtime.bundle.card
    return ModelFacts(
        name=card.name,
        version=model.choice.version,
        origin=model.choice.origin,
        bundle_sha256=card.model_sha256,
        data=f"{card.data.source} {card.data.release}".strip(),
        is_phantom=card.data.source == PHANTOM,
    )


def swap(current: CurrentModel) -> Swap:
    """Return since when the model answers, and why none took its place if one should have."""
    return Swap(loaded=current.model.loaded, failed=current.failure)


def model_card(current: CurrentModel, project: Path) -> ModelCard:
    """Return what is known of the model that answers; reads the evaluation of it in a project, if there is one."""
    model = current.model
    card = model.runtime.bundle.card
    return ModelCard(
        model=facts(model),
        kind=card.kind,
        image_size=card.image_size,
        threshold=card.threshold,
        band=_band(card),
        calibration=card.calibration.method,
        validation=card.validation,
        git_commit=card.git_commit,
        limits=_limits(card),
        judgement=_judgement(model, project),
        swap=swap(current),
    )


def _band(card: Card) -> Band:
    return Band(low=card.band.low, high=card.band.high)


def _meaning(model: Model, probability: float) -> Meaning:
    share = model.runtime.share_of_pneumonia(probability)
    return Meaning(share=share.share, low=share.low, high=share.high, images=share.images)


def _limits(card: Card) -> str:
    test = card.data.counts.get("test", {})
    general = ANY_LIMITS.format(prevalence=test.get(POSITIVE, 0) / (sum(test.values()) or 1), positive=POSITIVE)
    special = {"kermany": KERMANY_LIMITS, PHANTOM: PHANTOM_LIMITS}.get(card.data.source, "")
    return special + (general if test else "")


def _judgement(model: Model, project: Path) -> dict[str, Any] | None:
    """Return images, patients and figures by subset; None where no evaluation of this operating point is at hand."""
    found = serving.judgement(model.choice.folder, model.runtime.bundle.card, project)
    if found is None:
        return None
    return {
        subset: {key: entries[key] for key in ("images", "patients", "figures")}
        for subset, entries in found["subsets"].items()
    }
