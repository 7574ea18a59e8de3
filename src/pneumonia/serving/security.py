"""Access control for every request: host, rate limit, API key or login, CSRF, and security headers.

- A request with an API key (``Authorization: Bearer``) is authorized by the key alone.
- A browser has a session cookie (`serving.sessions`). Requests that change something need the session's CSRF token.
- Without key and password, scripts may post without a token. Browsers, recognized by ``Origin``, ``Sec-Fetch-Site`` or
  the cookie, may not: pages of other sites can send requests to 127.0.0.1.

One middleware covers all paths, including static files, unknown paths and the OpenAPI document, so that a new route is
protected by default. Starlette's `TrustedHostMiddleware` is not used: it answers with plain text and status 400, where
clients of this API expect a problem with status 421 that names the accepted hosts.
"""

from urllib.parse import urlsplit

from fastapi.responses import RedirectResponse
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pneumonia.serving.access import ApiKeys
from pneumonia.serving.problems import Problem
from pneumonia.serving.rate_limits import ClientRateLimiter
from pneumonia.serving.sessions import COOKIE, Sessions, is_csrf_token, is_signed_in
from pneumonia.serving.settings import AppSettings

CSRF_HEADER = "x-csrf-token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
PUBLIC_PATHS = ("/healthz", "/readyz", "/login")
STATIC = "/static/"
BEARER = {"WWW-Authenticate": "Bearer"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class SecurityMiddleware:
    """Authorizes every request and adds security headers to every response (an ASGI middleware)."""

    def __init__(
        self, app: ASGIApp, settings: AppSettings, keys: ApiKeys, sessions: Sessions, attempts: ClientRateLimiter
    ) -> None:
        """Wrap an application.

        Args:
            app: the application; `SessionCookieMiddleware` has to be outside of this middleware.
            settings: which hosts and which kinds of authentication are accepted.
            keys: accepted API keys.
            sessions: revoked sessions.
            attempts: limit on wrong keys and passwords.
        """
        self.app = app
        self._settings = settings
        self._keys = keys
        self._sessions = sessions
        self._attempts = attempts
        self._requests = ClientRateLimiter(settings.limits.requests_per_minute, "requests")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an authorized request on; respond to others with a problem or a redirect to the login page."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if not scope["path"].startswith(STATIC):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._check_host(request)
            self._requests.hit(request)
            self._sessions.clear_if_revoked(request)
            self._authorize(request)
        except Problem as problem:
            await problem.response()(scope, receive, send_with_headers)
        except _LoginRequired:
            await RedirectResponse("/login", 303)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)

    def _check_host(self, request: HTTPConnection) -> None:
        allowed = self._settings.allowed_hosts
        name = urlsplit(f"//{request.headers.get('host', '')}").netloc.rsplit("@")[-1]
        if allowed is not None and _without_port(name) not in allowed:
            detail = f"expected the host {', '.join(allowed)}, got {name!r}. Add further names with --hostname."
            raise Problem(421, "wrong_host", detail)

    def _authorize(self, request: HTTPConnection) -> None:
        method, path = request.scope["method"], request.scope["path"]
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if self._settings.key_file and scheme.lower() == "bearer":
            self._check_key(request, key.strip())
            return
        is_public = path in PUBLIC_PATHS or path.startswith(STATIC)
        if self._settings.has_authentication and not is_signed_in(request) and not is_public:
            if self._settings.password_file and method == "GET" and "text/html" in request.headers.get("accept", ""):
                raise _LoginRequired
            detail = "expected an API key (Authorization: Bearer KEY) or a login on the page."
            raise Problem(401, "unauthorized", detail, BEARER)
        if method not in SAFE_METHODS and path != "/login":  # the login form has the token in a field
            self._check_csrf(request)

    def _check_key(self, request: HTTPConnection, key: str) -> None:
        self._attempts.check(request)
        if not self._keys.verify(key):
            self._attempts.hit(request)
            raise Problem(401, "wrong_key", "the API key is not valid.", BEARER)

    def _check_csrf(self, request: HTTPConnection) -> None:
        headers = request.headers
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise Problem(403, "cross_site", f"expected a request from this service's page, got origin {origin!r}.")
        is_browser = origin is not None or "sec-fetch-site" in headers or COOKIE in request.cookies
        if is_browser and not is_csrf_token(request, headers.get(CSRF_HEADER, "")):
            raise Problem(403, "csrf", "expected the page's X-CSRF-Token. Reload the page.")


class _LoginRequired(Exception):
    """A browser requests a page without being signed in."""


def _without_port(name: str) -> str:
    return name.rsplit(":", 1)[0] if not name.endswith("]") else name
