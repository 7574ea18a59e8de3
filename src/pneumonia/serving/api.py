"""REST API: predictions, feedback, the model, and the endpoints for operators."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pneumonia.monitoring.log import Label
from pneumonia.serving import image_cache, responses
from pneumonia.serving.batching import ImageResult, InferenceBatcher, QueueFullError
from pneumonia.serving.dependencies import (
    ActiveModelDep,
    BatcherDep,
    ImagesDep,
    LogWriterDep,
    MetricsDep,
    RecorderDep,
    SettingsDep,
    StoreDep,
    UploadBudgetDep,
)
from pneumonia.serving.image_cache import CachedImage, ImageCache
from pneumonia.serving.prediction_store import PredictionStore
from pneumonia.serving.problems import Problem, problem_responses
from pneumonia.serving.schemas import FeedbackRequest, ModelDetails, Prediction, PredictionList, Readiness
from pneumonia.serving.settings import AppSettings
from pneumonia.serving.uploads import FIELD, RETRY, Upload, receive_uploads

CONCURRENT_IMAGES = 8
"""Images of one request in the queue at once, so that a large ZIP archive does not block other clients."""
FEEDBACK_SOURCE = "reader"
"""Source of the labels in the prediction log that come from feedback."""
PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}
MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {
                        FIELD: {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "JPEG, PNG or DICOM images, or ZIP archives of them",
                        }
                    },
                },
                "encoding": {FIELD: {"contentType": "application/octet-stream"}},
            }
        },
    }
}

router = APIRouter(prefix="/api/v1", responses=problem_responses(401, 403, 421, 429), tags=["predictions"])
operations = APIRouter(tags=["service"])


@router.post(
    "/predictions",
    responses=problem_responses(400, 408, 413, 415, 422, 503, 504),
    openapi_extra=MULTIPART,
    summary="Analyze images",
)
async def create_predictions(
    request: Request,
    settings: SettingsDep,
    batcher: BatcherDep,
    metrics: MetricsDep,
    budget: UploadBudgetDep,
    recorder: RecorderDep,
    blinded: Annotated[bool, Query(description="withhold the results until the reader has given a verdict")] = False,
) -> PredictionList:
    """Return one result per image, in the order of the upload; an unusable file has a result with the reason."""
    with budget.share() as reserve:
        uploads = await receive_uploads(request, settings.limits, reserve)
        try:
            results = await _process(batcher, uploads, settings.limits.answer_seconds)
        except QueueFullError:
            metrics.busy.inc()
            raise Problem(503, "busy", "the queue of images is full. Try again in a moment.", RETRY) from None
    entries = [
        responses.make_entry(result, upload.name, hidden=blinded)
        for upload, result in zip(uploads, results, strict=True)
    ]
    await asyncio.to_thread(recorder.record, entries, results)
    return PredictionList(predictions=[responses.for_reader(entry.prediction) for entry in entries])


@router.get("/predictions/{prediction}", responses=problem_responses(404, 422), summary="Get a prediction")
async def get_prediction(
    store: StoreDep,
    images: ImagesDep,
    prediction: UUID,
    reveal: Annotated[bool, Query(description="show a withheld result; a later verdict is then not blinded")] = False,
) -> Prediction:
    """Return the prediction of an image with its feedback."""
    stored = await _get_stored(store, prediction)
    if reveal and stored.hidden:
        await asyncio.to_thread(store.reveal, prediction)
        stored = stored.model_copy(update={"hidden": False})
    return responses.for_reader(stored, images.file_name(prediction))


@router.post(
    "/predictions/{prediction}/feedback",
    responses=problem_responses(400, 404, 408, 413, 422),
    summary="Add a reader's verdict",
)
async def add_feedback(
    store: StoreDep,
    images: ImagesDep,
    log_writer: LogWriterDep,
    metrics: MetricsDep,
    prediction: UUID,
    feedback: FeedbackRequest,
) -> Prediction:
    """Store a reader's verdict; return the prediction with the verdict and, if it was withheld, its result."""
    stored = await asyncio.to_thread(store.add_feedback, prediction, feedback.verdict, blinded=feedback.blinded)
    if stored is None:
        raise unknown_prediction(prediction)
    metrics.feedback.labels(feedback.verdict).inc()
    last = stored.feedback[-1]
    log_writer.add_label(Label(prediction, FEEDBACK_SOURCE, last.created, last.verdict, last.blinded))
    return responses.for_reader(stored, images.file_name(prediction))


@router.get(
    "/predictions/{prediction}/image.png",
    response_class=Response,
    responses=PNG | problem_responses(404, 410, 422),
    summary="Get the decoded image",
)
async def get_image(store: StoreDep, images: ImagesDep, settings: SettingsDep, prediction: UUID) -> Response:
    """Return the decoded image, 8 bit grey."""
    cached = await _get_cached(store, images, settings, prediction)
    return await _png_response(lambda: image_cache.encode_png(cached.pixels))


@router.get(
    "/predictions/{prediction}/thumbnail.png",
    response_class=Response,
    responses=PNG | problem_responses(404, 410, 422),
    summary="Get a thumbnail",
)
async def get_thumbnail(store: StoreDep, images: ImagesDep, settings: SettingsDep, prediction: UUID) -> Response:
    """Return a reduced copy of the decoded image, at most 160 pixels a side."""
    cached = await _get_cached(store, images, settings, prediction)
    return await _png_response(lambda: image_cache.encode_thumbnail(cached.pixels))


@router.get(
    "/predictions/{prediction}/evidence.png",
    response_class=Response,
    responses=PNG | problem_responses(404, 409, 410, 422),
    summary="Get the heat map",
)
async def get_heat_map(store: StoreDep, images: ImagesDep, settings: SettingsDep, prediction: UUID) -> Response:
    """Return the evidence for pneumonia as an overlay (RGBA), to be scaled to the size of the image."""
    stored = await _get_stored(store, prediction)
    if stored.status != "answered" or stored.hidden:
        raise Problem(409, "no_evidence", "the image was refused, or its result is withheld.")
    cached = await _get_cached(store, images, settings, prediction)
    return await _png_response(lambda: image_cache.encode_heat_map(cached))


@router.get("/model", tags=["service"], summary="Get the model in use")
async def get_model(active: ActiveModelDep, settings: SettingsDep) -> ModelDetails:
    """Return the model in use with its metrics and limitations."""
    return await asyncio.to_thread(responses.describe_model_details, active, settings.project)


@operations.get("/healthz", summary="Liveness")
async def healthz() -> dict[str, str]:
    """Respond while the process is alive."""
    return {"status": "ok"}


@operations.get("/readyz", responses=problem_responses(503), summary="Readiness")
async def readyz(store: StoreDep, active: ActiveModelDep) -> Readiness:
    """Return the model in use, and whether a newer one failed to load."""
    try:
        await asyncio.to_thread(store.check)
    except Exception:
        raise Problem(503, "no_database", "the database does not respond.", RETRY) from None
    return Readiness(ready=True, model=responses.describe_model(active.model), swap=responses.reload_status(active))


@operations.get("/metrics", response_class=Response, summary="Prometheus metrics", responses=problem_responses(401))
async def get_prometheus_metrics(metrics: MetricsDep) -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(metrics.render(), media_type="text/plain; version=0.0.4")


def unknown_prediction(prediction: UUID) -> Problem:
    """Return the problem of an unknown prediction id."""
    return Problem(404, "unknown_prediction", f"there is no prediction {prediction}.")


async def _process(batcher: InferenceBatcher, uploads: list[Upload], seconds: float) -> list[ImageResult]:
    """Return the results of uploads in order.

    Raises:
        QueueFullError: the queue is full.
        Problem: 504, an image took longer than ``seconds``.
    """
    concurrency = asyncio.Semaphore(CONCURRENT_IMAGES)

    async def process_one(upload: Upload) -> ImageResult:
        async with concurrency, asyncio.timeout(seconds):
            submitted: Future[ImageResult] = batcher.submit(upload.read)
            return await asyncio.wrap_future(submitted)

    tasks = [asyncio.ensure_future(process_one(upload)) for upload in uploads]
    try:
        return await asyncio.gather(*tasks)
    except TimeoutError:
        raise Problem(504, "slow_answer", f"an image took longer than {seconds:g} seconds. Try again.") from None
    finally:
        for task in tasks:
            task.cancel()


async def _get_stored(store: PredictionStore, prediction: UUID) -> Prediction:
    stored = await asyncio.to_thread(store.get, prediction)
    if stored is None:
        raise unknown_prediction(prediction)
    return stored


async def _get_cached(
    store: PredictionStore, images: ImageCache, settings: AppSettings, prediction: UUID
) -> CachedImage:
    cached = images.get(prediction)
    if cached is None:
        await _get_stored(store, prediction)
        minutes = settings.image_cache_seconds / 60
        detail = f"the image is not in memory any more, where it is kept for {minutes:.0f} minutes. Upload it again."
        raise Problem(410, "gone", detail)
    return cached


async def _png_response(encode: Callable[[], bytes]) -> Response:
    return Response(await asyncio.to_thread(encode), media_type="image/png")
