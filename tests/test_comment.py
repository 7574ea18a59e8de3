"""`.github/comment.py` against a server that plays GitHub's API, and another that plays its storage."""

import io
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

SCRIPT = Path(__file__).parents[1] / ".github/comment.py"
MARKER = "<!-- the model report of this pull request -->"
HEAD, RUN = "5e" * 20, "77"
BOT = {"login": "github-actions[bot]", "type": "Bot"}
REPOSITORY = "/repos/someone/pneumonia"


def zipped(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_md", ".md"), content)
    return packed.getvalue()


@dataclass
class GitHub:
    """A repository on GitHub, as far as the script can see it."""

    url: str = ""
    pulls: list[dict[str, Any]] = field(default_factory=lambda: [pull(1, "aa" * 20), pull(7, HEAD)])
    comments: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=lambda: [{"id": 5, "name": "pr-report"}])
    archive: bytes = field(default_factory=lambda: zipped(report_md=b"## Model report\n"))
    written: list[tuple[str, str, str]] = field(default_factory=list)
    seen_by_storage: list[dict[str, str]] = field(default_factory=list)
    storage: str = ""

    def run(self, expected: int = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        told = {
            "GITHUB_API_URL": self.url,
            "GITHUB_REPOSITORY": "someone/pneumonia",
            "GITHUB_TOKEN": "a-secret",
            "HEAD_SHA": HEAD,
            "RUN_ID": RUN,
        }
        command = [sys.executable, "-I", str(SCRIPT)]
        done = subprocess.run(
            command, env=os.environ | told | environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == expected, done.stderr
        assert "Traceback" not in done.stderr
        assert "a-secret" not in done.stdout + done.stderr
        return done


def pull(number: int, head: str, state: str = "open") -> dict[str, Any]:
    return {"number": number, "head": {"sha": head}, "state": state}


def comment(id: int, body: str, user: dict[str, Any] | None) -> dict[str, Any]:
    return {"id": id, "body": body, "user": user}


@pytest.fixture
def github() -> Iterator[GitHub]:
    hub = GitHub()

    class Api(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            lists: dict[str, Any] = {
                f"{REPOSITORY}/pulls": [p for p in hub.pulls if p["state"] == "open"],
                f"{REPOSITORY}/issues/7/comments": hub.comments,
                f"{REPOSITORY}/actions/runs/{RUN}/artifacts": hub.artifacts,
            }
            if self.headers["Authorization"] != "Bearer a-secret":
                self.send_error(401)
            elif re.fullmatch(rf"{REPOSITORY}/actions/artifacts/5/zip", address.path):
                self.send_response(302)
                self.send_header("Location", f"{hub.storage}/blob")
                self.end_headers()
            elif address.path in lists:
                query = {key: int(value) for key, (value,) in parse_qs(address.query).items() if value.isdigit()}
                start = (query["page"] - 1) * query["per_page"]
                page = lists[address.path][start : start + query["per_page"]]
                self.answer({"artifacts": page} if address.path.endswith("artifacts") else page)
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            self.write("POST")

        def do_PATCH(self) -> None:
            self.write("PATCH")

        def write(self, method: str) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            hub.written.append((method, self.path.removeprefix(REPOSITORY), content["body"]))
            self.answer({})

        def answer(self, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Storage(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            hub.seen_by_storage.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(hub.archive)

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Api, Storage)]
    hub.url, hub.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    for server in servers:
        server.shutdown()
        server.server_close()


def test_writes_a_first_comment_on_the_pull_request_at_the_head(github: GitHub) -> None:
    github.run()
    ((method, path, body),) = github.written
    assert (method, path) == ("POST", "/issues/7/comments")
    assert body.startswith(f"{MARKER}\n")
    assert body.endswith("\n\n## Model report\n")


def test_updates_its_own_comment_behind_a_page_of_others(github: GitHub) -> None:
    talk = [comment(i, "What a change!", {"login": "a-colleague"}) for i in range(130)]
    github.comments = [*talk, comment(500, f"{MARKER}\nolder", BOT), comment(501, "thanks", {"login": "a-colleague"})]
    github.run()
    assert [written[:2] for written in github.written] == [("PATCH", "/issues/comments/500")]


def test_finds_the_pull_request_behind_a_page_of_others(github: GitHub) -> None:
    github.pulls = [*(pull(1000 + i, f"{i:040x}") for i in range(250)), pull(7, HEAD)]
    github.run()
    assert [written[:2] for written in github.written] == [("POST", "/issues/7/comments")]


@pytest.mark.parametrize(
    "forged",
    [
        comment(9, f"{MARKER}\nmine", {"login": "somebody"}),
        comment(9, f"quoted: {MARKER}", BOT),
        comment(9, f"{MARKER}\nof an account that is gone", None),
    ],
)
def test_leaves_a_comment_with_a_forged_marker_alone(github: GitHub, forged: dict[str, Any]) -> None:
    github.comments = [forged]
    github.run()
    assert [written[:2] for written in github.written] == [("POST", "/issues/7/comments")]


@pytest.mark.parametrize("pulls", [[pull(7, HEAD, "closed")], [pull(7, "bb" * 20)], []])
def test_says_nothing_where_the_pull_request_is_closed_or_has_moved_on(
    github: GitHub, pulls: list[dict[str, Any]]
) -> None:
    github.pulls = pulls
    assert "Nothing to do" in github.run().stdout
    assert github.written == []


def test_refuses_to_guess_between_two_pull_requests(github: GitHub) -> None:
    github.pulls.append(pull(8, HEAD))
    assert "[7, 8]" in github.run(expected=1).stderr
    assert github.written == []


def test_calls_nobody_and_hides_nothing(github: GitHub) -> None:
    report = f"@team/all (@somebody) _@x train@cnn\n{MARKER}<!-- hidden -->\x1b[31m\u202eright to left"
    github.archive = zipped(report_md=report.encode())
    github.run()
    body = github.written[0][2]
    assert "train@cnn" in body
    assert re.findall(r"(?<![A-Za-z0-9])@\w", body) == []
    assert body.count("<!--") == 1
    assert "\x1b" not in body
    assert "\u202e" not in body


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (os.urandom(9 * 2**20), "more than 8388608 bytes"),
        (zipped(report_md=b"a" * 66_000), "expected at most 65000"),
        (zipped(report_md=b"\0" * 2**28), "more than 260000 bytes"),
        (zipped(other_md=b"## Model report"), r"no readable report\.md"),
        (b"no zip", r"no readable report\.md"),
    ],
    ids=["large", "long", "bomb", "without report", "no zip"],
)
def test_refuses_an_artifact_that_is_no_report(github: GitHub, archive: bytes, reason: str) -> None:
    github.archive = archive
    assert re.search(reason, github.run(expected=1).stderr)
    assert github.written == []


def test_a_missing_artifact_and_an_error_of_the_api_are_one_message(github: GitHub) -> None:
    github.artifacts = [{"id": 4, "name": "something-else"}]
    assert "has left no artifact pr-report" in github.run(expected=1).stderr
    github.artifacts = [{"id": 404, "name": "pr-report"}]
    assert "answered with 404" in github.run(expected=1).stderr
    assert "answered with 401" in github.run(expected=1, GITHUB_TOKEN="expired").stderr
    assert github.written == []


def test_storage_never_sees_the_token(github: GitHub) -> None:
    github.run()
    (headers,) = github.seen_by_storage
    assert "Authorization" not in headers
