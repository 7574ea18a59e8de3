"""The guard in front of the application: hosts, rate, key or login, cross-site requests, and headers of every answer.

- A request with an API key (``Authorization: Bearer``) is judged by the key alone.
- A browser has a session: a signed cookie (HttpOnly, SameSite=Strict) that a login replaces, so that none that
  somebody else has planted is ever logged in (session fixation). Changes need the session's CSRF token.
- Where neither key nor password is asked for, scripts may post without a token; browsers, which name the site that a
  request comes from (``Origin``, ``Sec-Fetch-Site``), may not: pages of other sites can reach 127.0.0.1, too.

Sessions are signed with a key that ends with the process, so that a restart logs everybody out.
"""

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from cachetools import TTLCache
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pneumonia.app.access import Keys, Password
from pneumonia.app.problems import Problem
from pneumonia.app.settings import Settings

COOKIE = "pneumonia_session"
TOKEN_HEADER = "x-csrf-token"
TOKEN_FIELD = "csrf_token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OPEN_PATHS = ("/healthz", "/readyz", "/login")
STATIC = "/static/"
MOST_REVOKED = 10_000
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


@dataclass(frozen=True)
class Session:
    """What the cookie says: a random id, and whether its owner has given the password."""

    id: str
    logged_in: bool

    @classmethod
    def new(cls, *, logged_in: bool) -> "Session":
        """Start one."""
        return cls(secrets.token_urlsafe(24), logged_in)


class Sessions:
    """Signs sessions and their tokens, and forgets those that were ended."""

    def __init__(self, seconds: int) -> None:
        """Set how long a session lasts."""
        key = secrets.token_bytes(32)
        self.seconds = seconds
        self._signer = URLSafeTimedSerializer(key, salt="session")
        self._token_key = hmac.digest(key, b"csrf", "sha256")
        self._ended: TTLCache[str, bool] = TTLCache(MOST_REVOKED, seconds)

    def read(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie, None where it is missing, forged, over or ended."""
        if not cookie:
            return None
        try:
            session = Session(*self._signer.loads(cookie, max_age=self.seconds))
        except (BadSignature, TypeError):
            return None
        return None if session.id in self._ended else session

    def end(self, session: Session) -> None:
        """Accept a session no more."""
        self._ended[session.id] = True

    def token(self, session: Session) -> str:
        """Return the CSRF token of a session."""
        return hmac.new(self._token_key, session.id.encode(), hashlib.sha256).hexdigest()

    def set_cookie(self, response: Response, session: Session, *, secure: bool) -> None:
        """Give a session to a browser."""
        response.set_cookie(
            COOKIE,
            self._signer.dumps([session.id, session.logged_in]),
            max_age=self.seconds,
            httponly=True,
            samesite="strict",
            secure=secure,
        )


class Guard:
    """Decides which requests reach the application (an ASGI middleware)."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys, sessions: Sessions, attempts: "Attempts") -> None:
        """Stand in front of an application."""
        self.app = app
        self._settings = settings
        self._sessions = sessions
        self._attempts = attempts
        self._keys = keys
        self._requests = Rate(settings.limits.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        is_new = (found := self._sessions.read(request.cookies.get(COOKIE))) is None
        session = found or Session.new(logged_in=False)
        scope.setdefault("state", {})["session"] = session
        scope["state"]["sessions"] = self._sessions

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if not scope["path"].startswith(STATIC):
                    headers.setdefault("Cache-Control", "no-store")
                is_page = headers.get("content-type", "").startswith("text/html")
                if is_new and is_page and "set-cookie" not in headers:
                    bearer = Response()
                    self._sessions.set_cookie(bearer, session, secure=scope["scheme"] == "https")
                    headers.append("set-cookie", bearer.headers["set-cookie"])
            await send(message)

        try:
            self._check_host(request)
            self._requests.check(request, "requests")
            self._check_rights(request, session)
        except Problem as problem:
            await problem.response()(scope, receive, sending)
        except _LoginFirst:
            await RedirectResponse("/login", 303)(scope, receive, sending)
        else:
            await self.app(scope, receive, sending)

    def _check_host(self, request: HTTPConnection) -> None:
        accepted = self._settings.accepted_hosts
        name = urlsplit(f"//{request.headers.get('host', '')}").netloc.rsplit("@")[-1]
        if accepted is not None and _without_port(name) not in accepted:
            raise Problem(
                421, "wrong_host", f"this service answers as {', '.join(accepted)}. Name others with --hostname."
            )

    def _check_rights(self, request: HTTPConnection, session: Session) -> None:
        method, path = request.scope["method"], request.scope["path"]
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if self._settings.key_file and scheme.lower() == "bearer":
            self._attempts.check(request)
            if self._keys.accept(key.strip()):
                return
            self._attempts.count(request)
            raise Problem(401, "wrong_key", "the API key is not known here.", {"WWW-Authenticate": "Bearer"})
        is_open = path in OPEN_PATHS or path.startswith(STATIC)
        if self._settings.is_locked and not session.logged_in and not is_open:
            if self._settings.password_file and method == "GET" and "text/html" in request.headers.get("accept", ""):
                raise _LoginFirst
            raise Problem(
                401,
                "unauthorized",
                "expected an API key (Authorization: Bearer KEY) or a login on the page.",
                {"WWW-Authenticate": "Bearer"},
            )
        if method not in SAFE_METHODS and path != "/login":  # whose form carries the token
            self._check_that_it_is_ours(request, session)

    def _check_that_it_is_ours(self, request: HTTPConnection, session: Session) -> None:
        headers = request.headers
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise Problem(403, "cross_site", f"the request comes from {origin!r}, expected from this service's page.")
        comes_from_a_browser = origin is not None or "sec-fetch-site" in headers or COOKIE in request.cookies
        token = headers.get(TOKEN_HEADER, "")
        if comes_from_a_browser and not _same(token, self._sessions.token(session)):
            detail = "the request lacks the page's X-CSRF-Token, or the page is too old. Load it again."
            raise Problem(403, "csrf", detail)


class Rate:
    """At most so many in any minute, for each client."""

    def __init__(self, per_minute: int) -> None:
        """Set the limit."""
        self._item: RateLimitItem = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, request: HTTPConnection, what: str) -> None:
        """Count one.

        Raises:
            Problem: it is one too many.
        """
        if not self._limiter.hit(self._item, _client(request)):
            raise _too_many(what)

    def is_used_up(self, request: HTTPConnection) -> bool:
        """Return whether one more would be one too many, without counting."""
        return not self._limiter.test(self._item, _client(request))

    def count(self, request: HTTPConnection) -> None:
        """Count one, whatever the limit."""
        self._limiter.hit(self._item, _client(request))


class Attempts:
    """Passwords and wrong keys: after a few of them a client has to wait, even with the right one."""

    def __init__(self, per_minute: int) -> None:
        """Set how many a client has in a minute."""
        self._rate = Rate(per_minute)

    def check(self, request: HTTPConnection) -> None:
        """Refuse who has failed too often.

        Raises:
            Problem: so it is.
        """
        if self._rate.is_used_up(request):
            raise _too_many("passwords or wrong keys")

    def count(self, request: HTTPConnection) -> None:
        """Count one."""
        self._rate.count(request)


def _too_many(what: str) -> Problem:
    return Problem(429, "too_many", f"too many {what} in a minute. Wait a little.", {"Retry-After": "60"})


class _LoginFirst(Exception):
    """A person wants to see a page and has not given the password."""


def csrf_token(request: Request) -> str:
    """Return the token that a page puts into ``<meta name="csrf-token">`` and its scripts send as X-CSRF-Token."""
    sessions: Sessions = request.state.sessions
    return sessions.token(request.state.session)


def login_router(settings: Settings, sessions: Sessions, attempts: Attempts) -> APIRouter:
    """Return the routes that a login form posts to: ``POST /login`` and ``POST /logout``."""
    router = APIRouter(include_in_schema=False)
    password = Password(settings.password_file) if settings.password_file else None
    one_at_a_time = asyncio.Lock()  # a password costs 64 MB to judge

    @router.post("/login")
    async def login(request: Request) -> Response:
        """Take ``password`` and ``csrf_token`` from a form; go to the page, or back to the form."""
        attempts.check(request)
        form = await _form(request)
        if not _same(form.get(TOKEN_FIELD, ""), csrf_token(request)):
            raise Problem(403, "csrf", "the form is too old. Load the page again.")
        attempts.count(request)  # before it is judged, so that a hundred at once are a hundred
        async with one_at_a_time:
            is_right = password is not None and await asyncio.to_thread(password.accept, form.get("password", ""))
        if not is_right:
            return RedirectResponse("/login?failed=true", 303)
        sessions.end(request.state.session)
        response = RedirectResponse("/", 303)
        sessions.set_cookie(response, Session.new(logged_in=True), secure=request.url.scheme == "https")
        return response

    @router.post("/logout")
    async def logout(request: Request) -> Response:
        """End the session."""
        sessions.end(request.state.session)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response

    return router


async def _form(request: Request) -> dict[str, str]:
    content = await request.body()
    return {name: values[0] for name, values in parse_qs(content.decode("utf-8", "replace")).items()}


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _client(request: HTTPConnection) -> str:
    return request.client.host if request.client else "unknown"


def _without_port(name: str) -> str:
    return name.rsplit(":", 1)[0] if not name.endswith("]") else name
