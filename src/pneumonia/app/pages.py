"""The pages that people see: worklist, study and login. Their scripts ask the API for what they show."""

from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.templating import Jinja2Templates

from pneumonia.app import answers, words
from pneumonia.app.api import unknown
from pneumonia.app.security import csrf_token
from pneumonia.app.words import Words

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
_templates = Jinja2Templates(Path(__file__).parent / "templates")
_templates.env.filters["percent"] = words.percent


@router.get("/")
def worklist(request: Request) -> Response:
    """Show the worklist."""
    is_kept = request.app.state.settings.keep_images is not None
    return _page(request, "worklist.html", keeping=words.KEPT if is_kept else words.NOT_KEPT)


@router.get("/studies/{study}")
def study(request: Request, study: UUID) -> Response:
    """Show one image and its answer; a page that says so where there is none."""
    if request.app.state.store.get(study) is None:
        return _page(request, "missing.html", status=404)
    return _page(request, "study.html")


@router.get("/studies/{study}/words", response_class=JSONResponse)
def said(request: Request, study: UUID) -> Words:
    """Return a study's answer in words; of one that is withheld, no more than that."""
    prediction = request.app.state.store.get(study)
    if prediction is None:
        raise unknown(study)
    return words.of(prediction)


@router.get("/model")
def model(request: Request) -> Response:
    """Show the model that answers now: a part of the other pages."""
    return _page(request, "_model.html")


@router.get("/login")
def login(request: Request, failed: bool = False) -> Response:
    """Show the form that asks for the password."""
    return _page(request, "login.html", failed=failed)


def _page(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    card = answers.model_card(request.app.state.engine.current, request.app.state.settings.project)
    shared = {
        "csrf_token": csrf_token(request),
        "signed_in": request.state.session.logged_in,
        "notice": words.NOTICE,
        "notice_detail": words.NOTICE_DETAIL,
        "card": card,
        "model": card.model,
        "version": words.version(card.model),
        "figures": words.figures(card),
        "limits": words.points(card.limits),
    }
    return _templates.TemplateResponse(request, template, shared | context, status_code=status)
