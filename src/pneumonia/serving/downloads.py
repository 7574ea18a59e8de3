"""Downloads: the worklist as CSV or JSON, and the report of a study as PDF."""

import csv
import io
from collections.abc import Iterable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from PIL import Image

from pneumonia.serving import image_cache, responses, wording
from pneumonia.serving.api import unknown_prediction
from pneumonia.serving.dependencies import ActiveModelDep, ImagesDep, SettingsDep, StoreDep
from pneumonia.serving.image_cache import ImageCache
from pneumonia.serving.prediction_store import PredictionStore
from pneumonia.serving.schemas import Prediction

router = APIRouter(include_in_schema=False)
Ids = Annotated[list[UUID], Query(alias="id", min_length=1, max_length=1000)]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@router.get("/export/worklist.json")
def worklist_json(store: StoreDep, images: ImagesDep, ids: Ids) -> Response:
    """Return predictions as the API returns them, with the notice."""
    predictions = [prediction.model_dump(mode="json") for prediction in _find_all(store, images, ids)]
    return _attachment(JSONResponse({"notice": wording.NOTICE, "predictions": predictions}), "worklist.json")


@router.get("/export/worklist.csv")
def worklist_csv(store: StoreDep, images: ImagesDep, ids: Ids) -> Response:
    """Return one row per prediction."""
    rows = [_row(prediction) for prediction in _find_all(store, images, ids)]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    # Excel reads UTF-8 only with a byte order mark.
    return _attachment(Response("\ufeff" + table.getvalue(), media_type="text/csv; charset=utf-8"), "worklist.csv")


@router.get("/studies/{study}/report.pdf")
def study_report(
    active: ActiveModelDep, settings: SettingsDep, store: StoreDep, images: ImagesDep, study: UUID
) -> Response:
    """Return the one-page report of a study."""
    from pneumonia.serving import pdf_report  # fpdf2 takes half a second to import

    (prediction,) = _find_all(store, images, [study])
    cached = images.get(study)
    pixels = overlay = None
    if cached:
        pixels = cached.pixels
        if prediction.decision:
            overlay = Image.open(io.BytesIO(image_cache.encode_heat_map(cached)))
    details = responses.describe_model_details(active, settings.project)
    content = pdf_report.render(prediction, details=details, image=pixels, overlay=overlay)
    return _attachment(Response(content, media_type="application/pdf"), f"study-{study}.pdf")


def _find_all(store: PredictionStore, images: ImageCache, ids: Iterable[UUID]) -> list[Prediction]:
    """Return predictions as their reader may see them.

    Raises:
        Problem: 404, an id is unknown.
    """
    predictions = []
    for key in ids:
        prediction = responses.find_prediction(store, images, key)
        if prediction is None:
            raise unknown_prediction(key)
        predictions.append(prediction)
    return predictions


def _row(prediction: Prediction) -> dict[str, Any]:
    refusal, meaning, image = prediction.refusal, prediction.meaning, prediction.image
    last = prediction.feedback[-1] if prediction.feedback else None
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
        "reader": last and last.verdict,
        "reader_blinded": last and last.blinded,
        "format": image and image.format,
        "view": image and image.view,
        "model": prediction.model.name,
        "version": prediction.model.version,
        "origin": prediction.model.origin,
        "bundle_sha256": prediction.model.bundle_sha256,
        "phantom_model": prediction.model.is_phantom,
        "notice": wording.NOTICE,
    }
    return {column: _escape_formula(value) for column, value in row.items()}


def _escape_formula(value: Any) -> Any:
    """Prevent a spreadsheet from running text as a formula (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def _attachment(response: Response, name: str) -> Response:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
