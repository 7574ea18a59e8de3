"""Fakes of the endpoints of GitHub's API that `.github/comment.py` uses, and of its artifact storage."""

import io
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SCRIPT = Path(__file__).parents[2] / ".github/comment.py"
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
    """The parts of a GitHub repository that the script reads and writes."""

    url: str = ""
    pulls: list[dict[str, Any]] = field(default_factory=lambda: [pull(1, "aa" * 20), pull(7, HEAD)])
    comments: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=lambda: [{"id": 5, "name": "pr-report"}])
    archive: bytes = field(default_factory=lambda: zipped(report_md=b"## Model report\n"))
    written: list[tuple[str, str, str]] = field(default_factory=list)
    seen_by_storage: list[dict[str, str]] = field(default_factory=list)
    storage: str = ""

    def run(self, expected: int = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        variables = {
            "GITHUB_API_URL": self.url,
            "GITHUB_REPOSITORY": "someone/pneumonia",
            "GITHUB_TOKEN": "a-secret",
            "HEAD_SHA": HEAD,
            "RUN_ID": RUN,
        }
        command = [sys.executable, "-I", str(SCRIPT)]
        done = subprocess.run(
            command, env=os.environ | variables | environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == expected, done.stderr
        assert "Traceback" not in done.stderr
        assert "a-secret" not in done.stdout + done.stderr
        return done


def pull(number: int, head: str, state: str = "open") -> dict[str, Any]:
    return {"number": number, "head": {"sha": head}, "state": state}


def comment(id: int, body: str, user: dict[str, Any] | None) -> dict[str, Any]:
    return {"id": id, "body": body, "user": user}


@contextmanager
def served() -> Iterator[GitHub]:
    """A fake GitHub on ports of this machine."""
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
