"""Browser sessions: Starlette's signed session cookie, with CSRF tokens and revocation.

Starlette's `SessionMiddleware` signs, reads and expires the cookie (HttpOnly, SameSite=Strict). A cookie that only
the browser holds cannot be revoked, so the server remembers the tokens of sessions that have ended. The signing key is
created at startup: a restart ends all sessions.
"""

import hmac
import secrets
from typing import Any

from cachetools import TTLCache
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "pneumonia_session"
MAXIMUM_REVOKED = 10_000
_TOKEN = "token"
_SIGNED_IN = "signed_in"


class SessionCookieMiddleware:
    """Adds a session to every request; the cookie is Secure where the request came over HTTPS.

    `SessionMiddleware` takes the Secure attribute at startup, when it is not known whether a reverse proxy uses HTTPS.
    """

    def __init__(self, app: ASGIApp, max_age: int) -> None:
        """Wrap an application.

        Args:
            app: the application.
            max_age: seconds that a session is valid.
        """
        key = secrets.token_urlsafe(32)
        self._http, self._https = (
            SessionMiddleware(app, key, COOKIE, max_age, same_site="strict", https_only=https_only)
            for https_only in (False, True)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        middleware = self._https if scope.get("scheme") == "https" else self._http
        await middleware(scope, receive, send)


class Sessions:
    """Starts, verifies and revokes sessions."""

    def __init__(self, max_age: int) -> None:
        """Set how many seconds a revoked session is remembered: as long as its cookie would be valid."""
        self._revoked: TTLCache[str, bool] = TTLCache(MAXIMUM_REVOKED, max_age)

    def clear_if_revoked(self, connection: HTTPConnection) -> None:
        """Empty the session of a request if it has been revoked."""
        if connection.session.get(_TOKEN) in self._revoked:
            connection.session.clear()

    def sign_in(self, connection: HTTPConnection) -> None:
        """Replace the session by a new, signed-in one, so that a cookie set by an attacker is never signed in."""
        self.revoke(connection)
        connection.session.update(_new_session(signed_in=True))

    def revoke(self, connection: HTTPConnection) -> None:
        """End the session; its cookie is not accepted any more."""
        if token := connection.session.get(_TOKEN):
            self._revoked[token] = True
        connection.session.clear()


def is_signed_in(connection: HTTPConnection) -> bool:
    """Return whether the session has given the password."""
    return bool(connection.session.get(_SIGNED_IN))


def csrf_token(connection: HTTPConnection) -> str:
    """Return the session's CSRF token, which starts a session if there is none.

    Pages have it in ``<meta name="csrf-token">``; their scripts send it as X-CSRF-Token.
    """
    if _TOKEN not in connection.session:
        connection.session.update(_new_session(signed_in=False))
    return str(connection.session[_TOKEN])


def is_csrf_token(connection: HTTPConnection, token: str) -> bool:
    """Return whether a token is that of the session; without a session none is."""
    expected = str(connection.session.get(_TOKEN, ""))
    return bool(expected) and hmac.compare_digest(token.encode(), expected.encode())


def _new_session(*, signed_in: bool) -> dict[str, Any]:
    return {_TOKEN: secrets.token_urlsafe(24), _SIGNED_IN: signed_in}
