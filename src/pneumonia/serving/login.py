"""Routes of the login form: ``POST /login`` and ``POST /logout``."""

import asyncio
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from pneumonia.serving.access import PasswordVerifier
from pneumonia.serving.problems import Problem
from pneumonia.serving.rate_limits import ClientRateLimiter
from pneumonia.serving.sessions import Sessions, is_csrf_token

CSRF_FIELD = "csrf_token"

router = APIRouter(include_in_schema=False)


class LoginService:
    """Verifies login attempts under a rate limit."""

    def __init__(self, password_file: Path | None, attempts: ClientRateLimiter, sessions: Sessions) -> None:
        """Read the password's hash.

        Args:
            password_file: file written by `access.set_password`; None rejects every password.
            attempts: limit on wrong keys and passwords.
            sessions: where a successful login starts a session.

        Raises:
            ServiceError: the file cannot be read, or holds no hash.
        """
        self.attempts = attempts
        self.sessions = sessions
        self._verifier = PasswordVerifier(password_file) if password_file else None
        self._one_at_a_time = asyncio.Lock()  # each verification uses 64 MB

    async def verify(self, password: str) -> bool:
        """Return whether a password is correct."""
        if self._verifier is None:
            return False
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._verifier.verify, password)


async def get_login_service(request: Request) -> LoginService:
    """Return the application's login service."""
    service: LoginService = request.app.state.login
    return service


LoginServiceDep = Annotated[LoginService, Depends(get_login_service)]


@router.post("/login")
async def login(request: Request, service: LoginServiceDep) -> Response:
    """Sign in with the form fields ``password`` and ``csrf_token``; redirect to the worklist or back to the form."""
    service.attempts.check(request)
    form = await _read_form(request)
    if not is_csrf_token(request, form.get(CSRF_FIELD, "")):
        raise Problem(403, "csrf", "the login form has expired. Reload the page.")
    service.attempts.hit(request)  # before the password is verified, so that concurrent attempts are all counted
    if not await service.verify(form.get("password", "")):
        return RedirectResponse("/login?failed=true", 303)
    service.sessions.sign_in(request)
    return RedirectResponse("/", 303)


@router.post("/logout")
async def logout(request: Request, service: LoginServiceDep) -> Response:
    """End the session."""
    service.sessions.revoke(request)
    return RedirectResponse("/login", 303)


async def _read_form(request: Request) -> dict[str, str]:
    content = await request.body()
    return {name: values[0] for name, values in parse_qs(content.decode("utf-8", "replace")).items()}
