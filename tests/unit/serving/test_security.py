"""Access control under attack: cross-site requests, DNS rebinding, session fixation, forged cookies, guessing."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pneumonia.serving import access, sessions
from pneumonia.serving.settings import RequestLimits
from tests.unit.serving.conftest import send

PASSWORD = "correct horse battery"
PREDICTIONS = "/api/v1/predictions"
PAGE = {"Accept": "text/html"}


@pytest.fixture
def locked(open_app: Callable[..., TestClient], tmp_path: Path) -> TestClient:
    """An application with a password."""
    access.set_password(tmp_path / "password", PASSWORD)
    return open_app(password_file=tmp_path / "password", limits=RequestLimits(logins_per_minute=3))


def token(client: TestClient, origin: str = "") -> str:
    """Return the CSRF token of a page."""
    page = client.get(f"{origin}/login").text
    return page.split('name="csrf-token" content="')[1].split('"')[0]


def log_in(client: TestClient, password: str = PASSWORD) -> Any:
    form = {"password": password, "csrf_token": token(client)}
    return client.post("/login", data=form, follow_redirects=False)


def post(client: TestClient, image: bytes, **headers: str) -> int:
    status: int = client.post(PREDICTIONS, files={"files": ("1.png", image)}, headers=headers).status_code
    return status


class TestWithoutAuthentication:
    def test_scripts_need_no_token(self, client: TestClient, radiograph: bytes) -> None:
        assert send(client, ("1.png", radiograph))[0]["status"] == "answered"

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:9999"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-origin"},
        ],
    )
    def test_browsers_need_a_csrf_token(self, client: TestClient, radiograph: bytes, headers: dict[str, str]) -> None:
        assert post(client, radiograph, **headers) == 403

    def test_page_can_post(self, client: TestClient, radiograph: bytes) -> None:
        headers_of_page = {"Origin": "http://127.0.0.1:8000", "X-CSRF-Token": token(client)}
        assert post(client, radiograph, **headers_of_page) == 200
        assert post(client, radiograph, **headers_of_page | {"Origin": "https://evil.example"}) == 403
        assert (
            post(client, radiograph, **headers_of_page | {"X-CSRF-Token": headers_of_page["X-CSRF-Token"][::-1]})
            == 403
        )

    def test_token_of_another_session_is_rejected(
        self, open_app: Callable[..., TestClient], client: TestClient, radiograph: bytes
    ) -> None:
        stolen = token(client)
        client.cookies.clear()
        assert token(client) != stolen
        assert post(client, radiograph, **{"X-CSRF-Token": stolen}) == 403

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""])
    def test_other_host_names_are_rejected(self, client: TestClient, host: str) -> None:
        """DNS rebinding: a site points its own name at 127.0.0.1, so that its pages have the same origin."""
        response = client.get("/api/v1/model", headers={"Host": host})
        assert (response.status_code, response.json()["code"]) == (421, "wrong_host")

    @pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "localhost", "[::1]:8000", "[::1]"])
    def test_loopback_names_are_accepted(self, client: TestClient, host: str) -> None:
        assert client.get("/api/v1/model", headers={"Host": host}).status_code == 200


class TestPassword:
    def test_is_required_except_for_login_and_probes(self, locked: TestClient, radiograph: bytes) -> None:
        for path in ("/api/v1/model", "/metrics", "/api/v1/openapi.json", "/nowhere", "/"):
            response = locked.get(path)
            assert (response.status_code, response.json()["code"]) == (401, "unauthorized"), path
        assert post(locked, radiograph) == 401
        for path in ("/healthz", "/readyz", "/login"):
            assert locked.get(path).status_code == 200
        redirect = locked.get("/", headers=PAGE, follow_redirects=False)
        assert (redirect.status_code, redirect.headers["location"]) == (303, "/login")

    def test_signs_in_until_logout(self, locked: TestClient, radiograph: bytes) -> None:
        assert log_in(locked).headers["location"] == "/"
        assert locked.get("/", headers=PAGE).status_code == 200
        kept = dict(locked.cookies)
        assert post(locked, radiograph) == 403, "browsers send the cookie with any request"
        headers_of_page = {"X-CSRF-Token": token(locked)}
        assert post(locked, radiograph, **headers_of_page) == 200
        assert locked.post("/logout", headers=headers_of_page, follow_redirects=False).status_code == 303
        locked.cookies.update(kept)
        assert locked.get("/api/v1/model").status_code == 401, "the cookie of an ended session"

    def test_cookie_is_httponly_and_samesite(self, locked: TestClient) -> None:
        cookie = log_in(locked).headers["set-cookie"].lower()
        assert {"httponly", "samesite=strict"} <= set(cookie.split("; "))
        assert "secure" not in cookie

    def test_cookie_is_secure_over_https(self, open_app: Callable[..., TestClient], tmp_path: Path) -> None:
        access.set_password(tmp_path / "password", PASSWORD)
        client = open_app(password_file=tmp_path / "password")
        form = {"password": PASSWORD, "csrf_token": token(client, "https://127.0.0.1:8000")}
        response = client.post("https://127.0.0.1:8000/login", data=form, follow_redirects=False)
        assert response.headers["location"] == "/"
        assert "secure" in response.headers["set-cookie"].split("; ")

    def test_login_replaces_the_session(self, locked: TestClient) -> None:
        """Session fixation: a session that an attacker has set is never signed in."""
        token(locked)
        fixated = locked.cookies[sessions.COOKIE]
        log_in(locked)
        own = locked.cookies[sessions.COOKIE]
        assert own != fixated
        locked.cookies.clear()
        locked.cookies.set(sessions.COOKIE, fixated)
        assert locked.get("/api/v1/model").status_code == 401

    def test_forged_cookies_are_rejected(self, locked: TestClient) -> None:
        token(locked)
        body, *rest = locked.cookies[sessions.COOKIE].split(".")
        opened = base64.urlsafe_b64decode(body + "==").replace(b"false", b"true")
        forged = base64.urlsafe_b64encode(opened).decode().rstrip("=")
        for cookie in (".".join([forged, *rest]), forged, "x", "[]", "." * 10):
            locked.cookies.clear()
            locked.cookies.set(sessions.COOKIE, cookie)
            assert locked.get("/api/v1/model").status_code == 401

    def test_attempts_are_limited(self, locked: TestClient) -> None:
        assert [log_in(locked, f"guess number {guess}").status_code for guess in range(3)] == [303] * 3
        refused = log_in(locked)
        assert refused.status_code == 429, "even with the right password"
        assert int(refused.headers["retry-after"]) > 0

    def test_requires_the_token_of_the_form(self, locked: TestClient) -> None:
        assert locked.post("/login", data={"password": PASSWORD}).status_code == 403
        assert locked.post("/login", data={"password": PASSWORD, "csrf_token": "x"}).status_code == 403

    def test_form_has_a_maximum_size(self, locked: TestClient) -> None:
        assert locked.post("/login", content=b"password=" + b"x" * 100_000).status_code == 413


class TestApiKeys:
    @pytest.fixture
    def key(self, tmp_path: Path) -> str:
        return access.add_key(tmp_path / "keys", "script")

    @pytest.fixture
    def keyed(self, open_app: Callable[..., TestClient], tmp_path: Path, key: str) -> TestClient:
        return open_app(key_file=tmp_path / "keys", limits=RequestLimits(logins_per_minute=3))

    def test_authorize_requests(self, keyed: TestClient, radiograph: bytes, key: str) -> None:
        assert post(keyed, radiograph, Authorization=f"Bearer {key}") == 200
        assert keyed.get("/metrics", headers={"Authorization": f"bearer {key}"}).status_code == 200
        assert post(keyed, radiograph) == 401

    def test_need_no_csrf_token_which_does_not_replace_them(
        self, keyed: TestClient, radiograph: bytes, key: str
    ) -> None:
        browser = {"Origin": "https://pacs.example", "Authorization": f"Bearer {key}"}
        assert post(keyed, radiograph, **browser) == 200
        wrong = browser | {"Authorization": f"Bearer {key}x", "X-CSRF-Token": token(keyed)}
        assert post(keyed, radiograph, **wrong) == 401

    def test_attempts_are_limited(self, keyed: TestClient, key: str) -> None:
        guesses = [
            keyed.get("/api/v1/model", headers={"Authorization": f"Bearer {guess}"}).status_code for guess in range(4)
        ]
        assert guesses == [401, 401, 401, 429]

    def test_of_an_invalid_file_prevent_the_start(self, open_app: Callable[..., TestClient], tmp_path: Path) -> None:
        (tmp_path / "keys").write_text("")
        with pytest.raises(access.ServiceError, match="holds no keys"):
            open_app(key_file=tmp_path / "keys")


def test_request_rate_is_limited(open_app: Callable[..., TestClient]) -> None:
    client = open_app(limits=RequestLimits(requests_per_minute=5))
    statuses = [client.get("/healthz").status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]


@pytest.mark.parametrize("path", ["/", "/login", "/api/v1/model", "/nowhere", "/healthz", "/api/v1/predictions/x"])
def test_every_response_has_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in str(policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_unhandled_error_is_returned_without_details(
    client: TestClient, radiograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("DOE^JANE in /srv/secret")

    monkeypatch.setattr(client.app.state.store, "add", fail)  # type: ignore[attr-defined]
    response = client.post(PREDICTIONS, files={"files": ("1.png", radiograph)})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "content-security-policy" in response.headers
    assert response.json()["code"] == "internal"
    assert not any(word in response.text for word in ("DOE", "secret", "Traceback", "RuntimeError", ".py"))
