"""What is taken away from the page: the worklist as CSV or JSON, and a study's report as PDF."""

import csv
import io
from collections.abc import Iterable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image

from pneumonia.app import answers, report, shelf, words
from pneumonia.app.api import Services
from pneumonia.app.problems import Problem
from pneumonia.app.schemas import Prediction

router = APIRouter(include_in_schema=False)
Ids = Annotated[list[UUID], Query(alias="id", min_length=1, max_length=1000)]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@router.get("/export/worklist.json")
def worklist_as_json(request: Request, ids: Ids) -> Response:
    """Return the predictions as the API gives them, with the notice."""
    found = [prediction.model_dump(mode="json") for prediction in _predictions(Services(request), ids)]
    return _file(JSONResponse({"notice": words.NOTICE, "predictions": found}), "worklist.json")


@router.get("/export/worklist.csv")
def worklist_as_csv(request: Request, ids: Ids) -> Response:
    """Return a row for each prediction."""
    rows = [_row(prediction) for prediction in _predictions(Services(request), ids)]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    # With a byte order mark, without which Excel takes UTF-8 for another encoding.
    return _file(Response("\ufeff" + table.getvalue(), media_type="text/csv; charset=utf-8"), "worklist.csv")


@router.get("/studies/{study}/report.pdf")
def study_report(request: Request, study: UUID) -> Response:
    """Return one page on a study."""
    at = Services(request)
    (prediction,) = _predictions(at, [study])
    shelved = at.shelf.get(study)
    image = overlay = None
    if shelved:
        image = shelved.pixels
        if prediction.decision:
            overlay = Image.open(io.BytesIO(shelf.overlay(shelved)))
    card = answers.model_card(at.engine.current, at.settings.project)
    drawn = report.draw(prediction, card=card, image=image, overlay=overlay)
    return _file(Response(drawn, media_type="application/pdf"), f"study-{study}.pdf")


def _predictions(at: Services, ids: Iterable[UUID]) -> list[Prediction]:
    """Look predictions up, as their reader may see them: without an answer that is withheld."""
    shown = []
    for id_ in ids:
        found, shelved = at.store.get(id_), at.shelf.get(id_)
        if found is None:
            raise Problem(404, "unknown_prediction", f"there is no prediction {id_}. Take it off the worklist.")
        shown.append(answers.shown(found, shelved.name if shelved else None))
    return shown


def _row(prediction: Prediction) -> dict[str, Any]:
    refusal, meaning, image = prediction.refusal, prediction.meaning, prediction.image
    verdict = prediction.feedback[-1] if prediction.feedback else None
    row = {
        "id": prediction.id,
        "created": prediction.created.isoformat(),
        "file": prediction.file,
        "status": prediction.status,
        "decision": prediction.decision,
        "probability": prediction.probability,
        "operating_point": prediction.threshold,
        "indeterminate_from": prediction.band.low,
        "indeterminate_below": prediction.band.high,
        "familiarity": prediction.familiarity,
        "refusal": refusal and refusal.code,
        "reason": refusal and refusal.reason,
        "warnings": " | ".join(prediction.warnings),
        "share_in_validation": meaning and meaning.share,
        "share_low": meaning and meaning.low,
        "share_high": meaning and meaning.high,
        "reader": verdict and verdict.verdict,
        "reader_blinded": verdict and verdict.blinded,
        "format": image and image.format,
        "view": image and image.view,
        "model": prediction.model.name,
        "version": prediction.model.version,
        "origin": prediction.model.origin,
        "weights_sha256": prediction.model.bundle_sha256,
        "phantom_model": prediction.model.is_phantom,
        "notice": words.NOTICE,
    }
    return {column: _defused(value) for column, value in row.items()}


def _defused(value: Any) -> Any:
    """Keep a text from being run as a formula by a spreadsheet (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def _file(response: Response, name: str) -> Response:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
