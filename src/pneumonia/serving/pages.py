"""HTML pages: worklist, study and login. Their scripts request predictions from the API."""

from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.templating import Jinja2Templates

from pneumonia.serving import responses, wording
from pneumonia.serving.active_model import ActiveModel
from pneumonia.serving.api import unknown_prediction
from pneumonia.serving.dependencies import ActiveModelDep, SettingsDep, StoreDep
from pneumonia.serving.sessions import csrf_token, is_signed_in
from pneumonia.serving.settings import AppSettings
from pneumonia.serving.wording import ResultText

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
_templates = Jinja2Templates(Path(__file__).parent / "templates")
_templates.env.filters["percent"] = wording.format_percent


@router.get("/")
def worklist(request: Request, active: ActiveModelDep, settings: SettingsDep) -> Response:
    """Return the worklist page."""
    storage = wording.IMAGES_STORED if settings.keep_images else wording.IMAGES_NOT_STORED
    return _render(request, active, settings, "worklist.html", storage=storage)


@router.get("/studies/{study}")
def study(request: Request, active: ActiveModelDep, settings: SettingsDep, store: StoreDep, study: UUID) -> Response:
    """Return the page of one image; a page with status 404 if its id is unknown."""
    if store.get(study) is None:
        return _render(request, active, settings, "missing.html", status=404)
    return _render(request, active, settings, "study.html")


@router.get("/studies/{study}/text", response_class=JSONResponse)
def result_text(store: StoreDep, study: UUID) -> ResultText:
    """Return the result of an image as text; a withheld result stays withheld."""
    prediction = store.get(study)
    if prediction is None:
        raise unknown_prediction(study)
    return wording.describe_result(prediction)


@router.get("/model")
def model_panel(request: Request, active: ActiveModelDep, settings: SettingsDep) -> Response:
    """Return the panel of the model in use, which is part of other pages."""
    return _render(request, active, settings, "_model.html")


@router.get("/login")
def login(request: Request, active: ActiveModelDep, settings: SettingsDep, failed: bool = False) -> Response:
    """Return the login page."""
    return _render(request, active, settings, "login.html", failed=failed)


def _render(
    request: Request, active: ActiveModel, settings: AppSettings, template: str, *, status: int = 200, **context: Any
) -> Response:
    details = responses.describe_model_details(active, settings.project)
    shared = {
        "csrf_token": csrf_token(request),
        "signed_in": is_signed_in(request),
        "notice": wording.NOTICE,
        "notice_detail": wording.NOTICE_DETAIL,
        "details": details,
        "model": details.model,
        "version": wording.format_version(details.model),
        "source": wording.format_source(details.model),
        "training_data": wording.format_training_data(details.model),
        "metrics": wording.format_test_metrics(details),
        "limitations": wording.list_items(details.limits),
    }
    return _templates.TemplateResponse(request, template, shared | context, status_code=status)
