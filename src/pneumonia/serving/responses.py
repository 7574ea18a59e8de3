"""API responses and log records, composed from inference results, the bundle's card and its evaluation."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from pneumonia.bundle.bundle import Card
from pneumonia.core.labels import POSITIVE
from pneumonia.inference.image_files import INDETERMINATE
from pneumonia.monitoring.record import ModelIdentity, PredictionRecord, make_record
from pneumonia.registry import resolve
from pneumonia.reports.model_card_text import ANY_LIMITS, KERMANY_LIMITS
from pneumonia.serving.active_model import ActiveModel, LoadedModel
from pneumonia.serving.batching import ImageResult
from pneumonia.serving.image_cache import ImageCache
from pneumonia.serving.prediction_store import PredictionEntry, PredictionStore
from pneumonia.serving.schemas import (
    ImageInfo,
    IndeterminateBand,
    ModelDetails,
    ModelInfo,
    ModelReloadStatus,
    ObservedFrequency,
    Prediction,
    RefusalReason,
    SubsetEvaluation,
)

PHANTOM_SOURCE = "phantom"
PHANTOM_LIMITS = "- Trained on synthetic images; not valid for patients.\n"
WITHHELD: dict[str, None] = dict.fromkeys(("decision", "probability", "familiarity", "meaning"))
"""Fields of a hidden prediction that clients do not get."""


def make_entry(result: ImageResult, name: str, *, hidden: bool) -> PredictionEntry:
    """Return the prediction of one image, with a new id.

    Args:
        result: outcome of inference.
        name: file name given by the client.
        hidden: whether the result is withheld until the reader has assessed the image; refusals never are.
    """
    card, intake, reading = result.model.runtime.bundle.card, result.intake, result.reading
    answer = reading if result.status == "answered" else None
    prediction = Prediction.model_validate(
        {
            "id": uuid4(),
            "created": datetime.now(UTC),
            "file": name,
            "status": result.status,
            "decision": answer and (INDETERMINATE if answer.indeterminate else answer.label),
            "probability": answer and answer.probability,
            "threshold": card.threshold,
            "band": _band(card),
            "familiarity": reading and reading.familiarity,
            "refusal": result.refusal and RefusalReason(code=result.refusal.code, reason=result.refusal.reason),
            "warnings": reading.warnings if reading else [],
            "image": intake
            and ImageInfo(format=intake.format, width=intake.width, height=intake.height, view=intake.view),
            "model": describe_model(result.model),
            "meaning": answer and _observed_frequency(result.model, answer.probability),
            "feedback": [],
            "hidden": hidden and answer is not None,
        }
    )
    embedding = tuple(float(component) for component in reading.embedding) if reading else None
    return PredictionEntry(prediction, intake.patient_identifier if intake else None, embedding)


def make_log_record(result: ImageResult, prediction: Prediction) -> PredictionRecord:
    """Return the record of one image for the prediction log, under the id of its prediction."""
    model = result.model
    return make_record(
        ModelIdentity.of(model.runtime.bundle.card, model.source.version),
        result.intake,
        result.reading,
        result.refusal.code if result.refusal else None,
        id=prediction.id,
        source="app",
        latency_ms=result.latency_ms,
        time=prediction.created,
    )


def find_prediction(store: PredictionStore, images: ImageCache, key: UUID) -> Prediction | None:
    """Return a stored prediction as its reader may see it, with its file name while the image is cached."""
    prediction = store.get(key)
    return prediction and for_reader(prediction, images.file_name(key))


def for_reader(prediction: Prediction, file: str | None = None) -> Prediction:
    """Return a prediction as its reader may see it: without its result while that is withheld.

    Args:
        prediction: complete prediction.
        file: file name to add; None to keep that of the prediction.
    """
    withheld = WITHHELD if prediction.hidden else {}
    return prediction.model_copy(update=withheld | ({"file": file} if file else {}))


def describe_model(model: LoadedModel) -> ModelInfo:
    """Return the identity of a model."""
    card = model.runtime.bundle.card
    return ModelInfo(
        name=card.name,
        version=model.source.version,
        origin=model.source.origin,
        bundle_sha256=card.sha256,
        data=f"{card.data.source} {card.data.release}".strip(),
        is_phantom=card.data.source == PHANTOM_SOURCE,
    )


def reload_status(active: ActiveModel) -> ModelReloadStatus:
    """Return when the model in use was loaded, and why a newer one failed to load."""
    return ModelReloadStatus(loaded=active.model.loaded, failed=active.failure)


def describe_model_details(active: ActiveModel, project: Path) -> ModelDetails:
    """Return metrics and limitations of the model in use.

    Args:
        active: model in use.
        project: project whose ``reports/`` may have the evaluation of the model.
    """
    model = active.model
    card = model.runtime.bundle.card
    return ModelDetails(
        model=describe_model(model),
        kind=card.kind,
        image_size=card.image_size,
        threshold=card.threshold,
        band=_band(card),
        calibration=card.calibration.method,
        validation=card.validation,
        limits=_limitations(card),
        evaluation=_evaluation(model, project),
        swap=reload_status(active),
    )


def _band(card: Card) -> IndeterminateBand:
    return IndeterminateBand(low=card.band.low, high=card.band.high)


def _observed_frequency(model: LoadedModel, probability: float) -> ObservedFrequency:
    share = model.runtime.share_of_pneumonia(probability)
    return ObservedFrequency(share=share.share, low=share.low, high=share.high, images=share.images)


def _limitations(card: Card) -> str:
    test = card.data.counts.get("test", {})
    general = ANY_LIMITS.format(prevalence=test.get(POSITIVE, 0) / (sum(test.values()) or 1), positive=POSITIVE)
    special = {"kermany": KERMANY_LIMITS, PHANTOM_SOURCE: PHANTOM_LIMITS}.get(card.data.source, "")
    return special + (general if test else "")


def _evaluation(model: LoadedModel, project: Path) -> dict[str, SubsetEvaluation] | None:
    """Return images, patients and metrics by subset; None without an evaluation of this bundle."""
    report = resolve.evaluation_report(model.source.folder, model.runtime.bundle.card, project)
    if report is None:
        return None
    return {
        name: SubsetEvaluation(images=subset.images, patients=subset.patients, figures=subset.figures)
        for name, subset in report.subsets.items()
    }
