"""The REST API: predictions, feedback and the model. `main` puts what it needs into the application's state."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pneumonia.app import answers, shelf
from pneumonia.app.engine import Busy, Engine, Study
from pneumonia.app.logbook import Logbook
from pneumonia.app.monitoring import Metrics
from pneumonia.app.problems import Problem, documented
from pneumonia.app.schemas import GivenFeedback, ModelCard, Prediction, Predictions, Readiness
from pneumonia.app.settings import Settings
from pneumonia.app.shelf import Shelf, Shelved
from pneumonia.app.store import Entry, Store
from pneumonia.app.uploads import FIELD, RETRY, Budget, Upload, receive
from pneumonia.inference.intake import Intake
from pneumonia.monitoring.log import Label

AT_ONCE = 8
"""Images of one request in the engine at once, so that a large zip does not shut out everybody else."""
READER = "reader"
"""Source of the labels that come from feedback."""
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
                            "description": "JPEG, PNG or DICOM images, or zips of them",
                        }
                    },
                },
                "encoding": {FIELD: {"contentType": "application/octet-stream"}},
            }
        },
    }
}

router = APIRouter(prefix="/api/v1", responses=documented(401, 403, 421, 429), tags=["predictions"])
service = APIRouter(tags=["service"])


class Services:
    """What the routes work with, found in the application's state."""

    def __init__(self, request: Request) -> None:
        """Look it up."""
        state = request.app.state
        self.settings: Settings = state.settings
        self.engine: Engine = state.engine
        self.store: Store = state.store
        self.logbook: Logbook = state.logbook
        self.shelf: Shelf = state.shelf
        self.metrics: Metrics = state.metrics
        self.budget: Budget = state.budget


@router.post(
    "/predictions",
    responses=documented(400, 408, 413, 415, 422, 503, 504),
    openapi_extra=MULTIPART,
    summary="Answer for images",
)
async def predict(
    request: Request,
    blinded: Annotated[bool, Query(description="withhold the answers until the reader has given a verdict")] = False,
) -> Predictions:
    """Answer for one image or many, in the order of the upload; a bad file is an entry that says why."""
    at = Services(request)
    with at.budget.share() as take:
        uploads = await receive(request, at.settings.limits, take)
        studies = await _answer(at, uploads)
    entries = [
        answers.entry(study, upload.name, hidden=blinded) for upload, study in zip(uploads, studies, strict=True)
    ]
    await asyncio.to_thread(_remember, at, entries, studies)
    return Predictions(predictions=[answers.shown(entry.prediction) for entry in entries])


@router.get("/predictions/{prediction}", responses=documented(404, 422), summary="Look an answer up")
async def look_up(
    request: Request,
    prediction: UUID,
    reveal: Annotated[bool, Query(description="show a withheld answer; a later verdict is then not blinded")] = False,
) -> Prediction:
    """Return what was said of an image, with the feedback since."""
    at = Services(request)
    found = await _find(at, prediction)
    if reveal and found.hidden:
        await asyncio.to_thread(at.store.reveal, prediction)
        found = found.model_copy(update={"hidden": False})
    return answers.shown(found, _name(at, prediction))


@router.post(
    "/predictions/{prediction}/feedback", responses=documented(400, 404, 408, 413, 422), summary="Give a verdict"
)
async def give_feedback(request: Request, prediction: UUID, given: GivenFeedback) -> Prediction:
    """Store a reader's verdict, and return the prediction with it and the model's answer."""
    at = Services(request)
    found = await asyncio.to_thread(at.store.add_feedback, prediction, given.verdict, blinded=given.blinded)
    if found is None:
        raise unknown(prediction)
    at.metrics.feedback.labels(given.verdict).inc()
    last = found.feedback[-1]
    at.logbook.label(Label(prediction, READER, last.created, last.verdict, last.blinded))
    return answers.shown(found, _name(at, prediction))


@router.get(
    "/predictions/{prediction}/image.png",
    response_class=Response,
    responses=PNG | documented(404, 410, 422),
    summary="The image as decoded",
)
async def image(request: Request, prediction: UUID) -> Response:
    """Return the decoded pixels, 8 bit grey."""
    at = Services(request)
    shelved = await _shelved(at, prediction)
    return await _png(lambda: shelf.png(shelved.pixels))


@router.get(
    "/predictions/{prediction}/thumbnail.png",
    response_class=Response,
    responses=PNG | documented(404, 410, 422),
    summary="A small copy of the image",
)
async def thumbnail(request: Request, prediction: UUID) -> Response:
    """Return the decoded pixels, made small."""
    at = Services(request)
    shelved = await _shelved(at, prediction)
    return await _png(lambda: shelf.thumbnail(shelved.pixels))


@router.get(
    "/predictions/{prediction}/evidence.png",
    response_class=Response,
    responses=PNG | documented(404, 409, 410, 422),
    summary="Where the model sees pneumonia",
)
async def evidence(request: Request, prediction: UUID) -> Response:
    """Return an overlay (RGBA) to be stretched over the image; only of images that were answered."""
    at = Services(request)
    found = await _find(at, prediction)
    if found.status != "answered" or found.hidden:
        raise Problem(409, "no_evidence", "there is none: the image was refused, or its answer is withheld.")
    shelved = await _shelved(at, prediction)
    return await _png(lambda: shelf.overlay(shelved))


@router.get("/model", tags=["service"], summary="The model that answers")
async def model(request: Request) -> ModelCard:
    """Return the model that answers now, its figures and its limits."""
    at = Services(request)
    return await asyncio.to_thread(answers.model_card, at.engine.current, at.settings.project)


@service.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    """Answer at all."""
    return {"status": "ok"}


@service.get("/readyz", responses=documented(503), summary="Whether it can answer for images")
async def readyz(request: Request) -> Readiness:
    """Say which model answers, and whether a newer one failed to load."""
    at = Services(request)
    try:
        await asyncio.to_thread(at.store.check)
    except Exception:
        raise Problem(503, "no_database", "the database does not answer.", RETRY) from None
    current = at.engine.current
    return Readiness(ready=True, model=answers.facts(current.model), swap=answers.swap(current))


@service.get("/metrics", response_class=Response, summary="Prometheus metrics", responses=documented(401))
async def metrics(request: Request) -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(Services(request).metrics.render(), media_type="text/plain; version=0.0.4")


async def _answer(at: Services, uploads: list[Upload]) -> list[Study]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(upload: Upload) -> Study:
        async with gate, asyncio.timeout(at.settings.limits.answer_seconds):
            submitted: Future[Study] = at.engine.submit(upload.read)
            return await asyncio.wrap_future(submitted)

    tasks = [asyncio.ensure_future(one(upload)) for upload in uploads]
    try:
        return await asyncio.gather(*tasks)
    except Busy:
        at.metrics.busy.inc()
        raise Problem(503, "busy", "too many images are waiting. Try again in a moment.", RETRY) from None
    except TimeoutError:
        seconds = at.settings.limits.answer_seconds
        raise Problem(504, "slow_answer", f"an image took more than {seconds:g} seconds. Try again.") from None
    finally:
        for task in tasks:
            task.cancel()


async def _find(at: Services, prediction: UUID) -> Prediction:
    found = await asyncio.to_thread(at.store.get, prediction)
    if found is None:
        raise unknown(prediction)
    return found


async def _shelved(at: Services, prediction: UUID) -> Shelved:
    shelved = at.shelf.get(prediction)
    if shelved is None:
        await _find(at, prediction)
        minutes = at.settings.shelf_seconds / 60
        raise Problem(
            410, "gone", f"images are kept in memory for {minutes:.0f} minutes at most, then forgotten. Send it again."
        )
    return shelved


def _name(at: Services, prediction: UUID) -> str | None:
    shelved = at.shelf.get(prediction)
    return shelved.name if shelved else None


async def _png(encode: Callable[[], bytes]) -> Response:
    return Response(await asyncio.to_thread(encode), media_type="image/png")


def _remember(at: Services, entries: list[Entry], studies: list[Study]) -> None:
    at.store.add(entries)
    at.logbook.note([answers.logged(study, entry.prediction) for entry, study in zip(entries, studies, strict=True)])
    for said, study in zip((entry.prediction for entry in entries), studies, strict=True):
        at.metrics.count(said)
        if study.intake:
            at.shelf.put(said.id, Shelved.of(said.file, study.model, study.intake))
            if at.settings.keep_images:
                _keep(at.settings.keep_images / f"{said.id}.png", study.intake)


def _keep(file: Path, intake: Intake) -> None:
    """Store the pixels, and nothing of what else the file said."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.touch(0o600)
    file.write_bytes(shelf.png(intake.pixels))


def unknown(prediction: UUID) -> Problem:
    """Return the problem of an id that nothing was stored under."""
    return Problem(404, "unknown_prediction", f"there is no prediction {prediction}.")
