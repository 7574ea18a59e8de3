"""API errors as problem details (RFC 9457), without stack traces."""

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
    """JSON body of an error response."""

    type: str = "about:blank"
    title: str = Field(description="phrase of the status code")
    status: int = Field(ge=400, le=599)
    code: str = Field(description="error code for programs")
    detail: str = Field(description="what was expected, what was received, and how to fix it")


class Problem(HTTPException):
    """Ends a request with an error response.

    Attributes:
        status_code: HTTP status, 400 to 599.
        code: error code for programs.
        detail: what was expected, what was received, and how to fix it.
        headers: additional response headers.
    """

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        """Create a problem; arguments as the attributes."""
        super().__init__(status, detail, headers)
        self.code = code

    def response(self) -> JSONResponse:
        """Return the error response."""
        details = ProblemDetails(
            title=HTTPStatus(self.status_code).phrase, status=self.status_code, code=self.code, detail=self.detail
        )
        return JSONResponse(details.model_dump(), self.status_code, self.headers, MEDIA_TYPE)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a route that may end with problems of these statuses."""
    schema = ProblemDetails.model_json_schema()
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def add_exception_handlers(app: FastAPI) -> None:
    """Make an application return every expected error as a problem."""

    @app.exception_handler(Problem)
    async def _handle_problem(_: Request, problem: Problem) -> JSONResponse:
        return problem.response()

    @app.exception_handler(HTTPException)
    async def _handle_http_exception(_: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return Problem(error.status_code, code, str(error.detail), error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def _handle_validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return Problem(422, "invalid", f"the request does not match the API description: {faults}.").response()


class UnhandledErrorMiddleware:
    """Turns an unhandled exception into a problem with status 500 and logs it (the innermost ASGI middleware).

    Starlette's handler for `Exception` does not fit: it runs outside all other middleware, so that its response lacks
    the security headers, and it raises the exception again, with its message, into the server's log.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        has_started = False

        async def send_and_record(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_record)
        except Exception as error:
            if has_started or scope["type"] != "http":
                raise
            log.error("unhandled error", exc_info=error)
            problem = Problem(500, "internal", "an internal error occurred; see the log of the service.")
            await problem.response()(scope, receive, send)
