"""Who gets in, attacked as strangers would: other sites' pages, planted cookies, guessed passwords."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pneumonia.app import access, security
from pneumonia.app.settings import Limits
from tests.app.conftest import send

PASSWORD = "correct horse battery"
PREDICTIONS = "/api/v1/predictions"
PAGE = {"Accept": "text/html"}


@pytest.fixture
def locked(open_app: Callable[..., TestClient], tmp_path: Path) -> TestClient:
    """An application that asks for a password."""
    access.set_password(tmp_path / "password", PASSWORD)
    return open_app(password_file=tmp_path / "password", limits=Limits(logins_per_minute=3))


def token(client: TestClient) -> str:
    """Return the CSRF token of a page."""
    page = client.get("/login").text
    return page.split('name="csrf-token" content="')[1].split('"')[0]


def log_in(client: TestClient, password: str = PASSWORD) -> Any:
    form = {"password": password, "csrf_token": token(client)}
    return client.post("/login", data=form, follow_redirects=False)


def post(client: TestClient, image: bytes, **headers: str) -> int:
    status: int = client.post(PREDICTIONS, files={"files": ("1.png", image)}, headers=headers).status_code
    return status


class TestOpenOnThisMachine:
    def test_scripts_need_nothing(self, client: TestClient, radiograph: bytes) -> None:
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
    def test_browsers_need_the_token_of_the_page(
        self, client: TestClient, radiograph: bytes, headers: dict[str, str]
    ) -> None:
        assert post(client, radiograph, **headers) == 403

    def test_the_page_may_post(self, client: TestClient, radiograph: bytes) -> None:
        ours = {"Origin": "http://127.0.0.1:8000", "X-CSRF-Token": token(client)}
        assert post(client, radiograph, **ours) == 200
        assert post(client, radiograph, **ours | {"Origin": "https://evil.example"}) == 403
        assert post(client, radiograph, **ours | {"X-CSRF-Token": ours["X-CSRF-Token"][::-1]}) == 403

    def test_a_token_of_another_session_is_refused(
        self, open_app: Callable[..., TestClient], client: TestClient, radiograph: bytes
    ) -> None:
        stolen = token(client)
        client.cookies.clear()
        assert token(client) != stolen
        assert post(client, radiograph, **{"X-CSRF-Token": stolen}) == 403

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""])
    def test_other_names_for_it_are_refused(self, client: TestClient, host: str) -> None:
        """DNS rebinding: a site points its own name at 127.0.0.1, and its pages are then of the same origin."""
        response = client.get("/api/v1/model", headers={"Host": host})
        assert (response.status_code, response.json()["code"]) == (421, "wrong_host")

    @pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "localhost", "[::1]:8000", "[::1]"])
    def test_its_own_names_are_fine(self, client: TestClient, host: str) -> None:
        assert client.get("/api/v1/model", headers={"Host": host}).status_code == 200


class TestPassword:
    def test_is_asked_for_everywhere_but_where_one_logs_in(self, locked: TestClient, radiograph: bytes) -> None:
        for path in ("/api/v1/model", "/metrics", "/api/v1/openapi.json", "/nowhere", "/"):
            response = locked.get(path)
            assert (response.status_code, response.json()["code"]) == (401, "unauthorized"), path
        assert post(locked, radiograph) == 401
        for path in ("/healthz", "/readyz", "/login"):
            assert locked.get(path).status_code == 200
        sent_on = locked.get("/", headers=PAGE, follow_redirects=False)
        assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/login")

    def test_opens_and_logging_out_closes(self, locked: TestClient, radiograph: bytes) -> None:
        assert log_in(locked).headers["location"] == "/"
        assert locked.get("/", headers=PAGE).status_code == 200
        kept = dict(locked.cookies)
        assert post(locked, radiograph) == 403, "a cookie alone must not do: it comes along on any request"
        ours = {"X-CSRF-Token": token(locked)}
        assert post(locked, radiograph, **ours) == 200
        assert locked.post("/logout", headers=ours, follow_redirects=False).status_code == 303
        locked.cookies.update(kept)
        assert locked.get("/api/v1/model").status_code == 401, "an old cookie must not open again"

    def test_cookie_is_not_for_scripts_nor_for_other_sites(self, locked: TestClient) -> None:
        cookie = log_in(locked).headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie

    def test_login_replaces_a_planted_session(self, locked: TestClient) -> None:
        """Session fixation: a session that somebody else knows is not the one that is logged in."""
        token(locked)
        planted = locked.cookies[security.COOKIE]
        log_in(locked)
        own = locked.cookies[security.COOKIE]
        assert own != planted
        locked.cookies.clear()
        locked.cookies.set(security.COOKIE, planted)
        assert locked.get("/api/v1/model").status_code == 401

    def test_forged_cookies_do_not_open(self, locked: TestClient) -> None:
        token(locked)
        body, *rest = locked.cookies[security.COOKIE].split(".")
        opened = base64.urlsafe_b64decode(body + "==").replace(b"false", b"true")
        forged = base64.urlsafe_b64encode(opened).decode().rstrip("=")
        for cookie in (".".join([forged, *rest]), forged, "x", "[]", "." * 10):
            locked.cookies.clear()
            locked.cookies.set(security.COOKIE, cookie)
            assert locked.get("/api/v1/model").status_code == 401

    def test_cannot_be_guessed_by_trying(self, locked: TestClient) -> None:
        assert [log_in(locked, f"guess number {guess}").status_code for guess in range(3)] == [303] * 3
        refused = log_in(locked)
        assert refused.status_code == 429, "even the right one, for now"
        assert int(refused.headers["retry-after"]) > 0

    def test_wants_the_token_of_its_form(self, locked: TestClient) -> None:
        assert locked.post("/login", data={"password": PASSWORD}).status_code == 403
        assert locked.post("/login", data={"password": PASSWORD, "csrf_token": "x"}).status_code == 403

    def test_form_is_small(self, locked: TestClient) -> None:
        assert locked.post("/login", content=b"password=" + b"x" * 100_000).status_code == 413


class TestKeys:
    @pytest.fixture
    def key(self, tmp_path: Path) -> str:
        return access.add_key(tmp_path / "keys", "script")

    @pytest.fixture
    def keyed(self, open_app: Callable[..., TestClient], tmp_path: Path, key: str) -> TestClient:
        return open_app(key_file=tmp_path / "keys", limits=Limits(logins_per_minute=3))

    def test_open(self, keyed: TestClient, radiograph: bytes, key: str) -> None:
        assert post(keyed, radiograph, Authorization=f"Bearer {key}") == 200
        assert keyed.get("/metrics", headers={"Authorization": f"bearer {key}"}).status_code == 200
        assert post(keyed, radiograph) == 401

    def test_need_no_token_but_a_wrong_one_is_not_saved_by_it(
        self, keyed: TestClient, radiograph: bytes, key: str
    ) -> None:
        browser = {"Origin": "https://pacs.example", "Authorization": f"Bearer {key}"}
        assert post(keyed, radiograph, **browser) == 200
        wrong = browser | {"Authorization": f"Bearer {key}x", "X-CSRF-Token": token(keyed)}
        assert post(keyed, radiograph, **wrong) == 401

    def test_cannot_be_guessed_by_trying(self, keyed: TestClient, key: str) -> None:
        guesses = [
            keyed.get("/api/v1/model", headers={"Authorization": f"Bearer {guess}"}).status_code for guess in range(4)
        ]
        assert guesses == [401, 401, 401, 429]

    def test_of_a_broken_file_keep_the_application_from_starting(
        self, open_app: Callable[..., TestClient], tmp_path: Path
    ) -> None:
        (tmp_path / "keys").write_text("")
        with pytest.raises(access.ServiceError, match="holds no keys"):
            open_app(key_file=tmp_path / "keys")


def test_clients_that_ask_too_often_have_to_wait(open_app: Callable[..., TestClient]) -> None:
    client = open_app(limits=Limits(requests_per_minute=5))
    statuses = [client.get("/healthz").status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]


@pytest.mark.parametrize("path", ["/", "/login", "/api/v1/model", "/nowhere", "/healthz", "/api/v1/predictions/x"])
def test_every_answer_forbids_what_pages_do_not_need(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in str(policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_a_bug_is_told_without_its_trace(
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
