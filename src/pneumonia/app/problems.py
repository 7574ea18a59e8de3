"""Errors of the API as problem details (RFC 9457): what is wrong and how to mend it, and never a stack trace."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


class ProblemDetails(BaseModel):
    """A problem as it is sent."""

    type: str = "about:blank"
    title: str = Field(description="the phrase of the status")
    status: int = Field(ge=400, le=599)
    code: str = Field(description="what is wrong, for programs")
    detail: str = Field(description="what is wrong and how to mend it, for people")


class Problem(HTTPException):
    """Ends a request with a problem.

    Attributes:
        status_code: of HTTP.
        code: what is wrong, for programs.
        detail: what was expected, what came, and how to mend it.
        headers: further ones of the response.
    """

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        """Describe a problem."""
        super().__init__(status, detail, headers)
        self.code = code

    def response(self) -> JSONResponse:
        """Return the response that tells it."""
        details = ProblemDetails(
            title=HTTPStatus(self.status_code).phrase, status=self.status_code, code=self.code, detail=self.detail
        )
        return JSONResponse(details.model_dump(), self.status_code, self.headers, MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a route that can end with problems of these statuses."""
    schema = ProblemDetails.model_json_schema()
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Let an application answer every error with a problem."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, problem: Problem) -> JSONResponse:
        return problem.response()

    @app.exception_handler(HTTPException)
    async def _of_http(_: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return Problem(error.status_code, code, str(error.detail), error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def _of_validation(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return Problem(422, "invalid", f"the request is not as described in the API: {faults}.").response()


class Catch:
    """Answers what nobody caught with a problem, and logs where it happened (the innermost ASGI middleware)."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through."""
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            log.error("bug", exc_info=error)
            detail = "something went wrong here; the log of the service says where."
            await Problem(500, "internal", detail).response()(scope, receive, send)
