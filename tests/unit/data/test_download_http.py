"""Downloads from a server on the loopback interface that fails as each test plans."""

import hashlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pneumonia.core.errors import DownloadError
from pneumonia.data import download as module
from pneumonia.data.download import download

CONTENT = random.Random(3).randbytes(1_000_000)
OTHER = random.Random(4).randbytes(1_000_000)
HALF = 32 * module._CHUNK  # received bytes are kept in whole chunks


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Request:
    range: str | None
    if_range: str | None
    user_agent: str


@dataclass
class Plan:
    """How the server answers one request."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    status: int | None = None  # answer this and nothing else
    location: str | None = None
    ranges: bool = True  # whether Range is understood
    send: int | None = None  # drop the connection after so many bytes
    chunked: bool = False  # no Content-Length
    pause: float = 0.0  # seconds before every 10,000 bytes
    start_at: int | None = None  # go on from a wrong byte


@dataclass
class Server:
    url: str = ""
    plans: list[Plan] = field(default_factory=list)  # one per request; the last one stays
    requests: list[Request] = field(default_factory=list)

    def next_plan(self) -> Plan:
        return self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]


class Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = self.headers
        self.close_connection = True
        state: Server = self.server.state
        state.requests.append(Request(headers["Range"], headers["If-Range"], headers["User-Agent"]))
        plan = state.next_plan()
        if plan.status is not None:
            self.send_response(plan.status)
            if plan.location:
                self.send_header("Location", plan.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        offset = 0
        if headers["Range"] and plan.ranges and headers["If-Range"] in (None, plan.etag):
            offset = int(headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if plan.start_at is not None:
            offset = plan.start_at
        body = plan.content[offset:]
        self.send_response(206 if offset else 200)
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(plan.content) - 1}/{len(plan.content)}")
        if not plan.chunked:
            self.send_header("Content-Length", str(len(body)))
        if plan.etag:
            self.send_header("ETag", plan.etag)
        self.send_header("Connection", "close")
        self.end_headers()
        body = body[: plan.send]
        try:
            for start in range(0, len(body), 10_000):
                time.sleep(plan.pause)
                self.wfile.write(body[start : start + 10_000])
        except OSError:
            pass  # the client was killed

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Server(plans=[Plan()])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.state = state  # type: ignore[attr-defined]
        state.url = f"http://127.0.0.1:{http.server_address[1]}/file_downloaded"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "file.zip"


Fetch = Callable[[], None]


@pytest.fixture
def fetch(server: Server, target: Path) -> Fetch:
    def fetch() -> None:
        download(server.url, target, size=len(CONTENT), sha256=sha256(CONTENT), tries=3, backoff=0, timeout=(2, 2))

    return fetch


def only_the_file_is_left(target: Path) -> bool:
    return target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]


def leave_part(target: Path, content: bytes, mark: str | None) -> None:
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(content)
    if mark is not None:
        target.with_name("file.zip.part.validator").write_text(mark, encoding="utf-8")


def test_file_arrives_whole_and_the_server_sees_a_browser(server: Server, target: Path, fetch: Fetch) -> None:
    fetch()
    assert only_the_file_is_left(target)
    assert server.requests[0].user_agent.startswith("Mozilla/5.0")


def test_finished_file_is_used_again_without_a_request(server: Server, target: Path, fetch: Fetch) -> None:
    fetch()
    fetch()
    assert len(server.requests) == 1


def test_finished_file_that_was_damaged_is_downloaded_again(server: Server, target: Path, fetch: Fetch) -> None:
    target.parent.mkdir()
    target.write_bytes(OTHER)
    fetch()
    assert only_the_file_is_left(target)


def test_redirect_is_followed(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(status=302, location=f"{server.url}/elsewhere"), Plan()]
    fetch()
    assert only_the_file_is_left(target)


def test_range_survives_a_redirect(server: Server, target: Path, fetch: Fetch) -> None:
    leave_part(target, CONTENT[:HALF], '"one"')
    server.plans = [Plan(status=302, location=f"{server.url}/elsewhere"), Plan()]
    fetch()
    assert only_the_file_is_left(target)
    assert server.requests[1].range == f"bytes={HALF}-"


def test_dropped_connection_is_resumed_where_it_broke(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(send=HALF), Plan(send=module._CHUNK), Plan()]
    fetch()
    assert only_the_file_is_left(target)
    assert [request.range for request in server.requests] == [
        None,
        f"bytes={HALF}-",
        f"bytes={HALF + module._CHUNK}-",
    ]
    assert server.requests[1].if_range == '"one"'


def test_many_drops_are_no_failure_while_bytes_arrive(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(send=100_000)]
    fetch()
    assert only_the_file_is_left(target)
    assert len(server.requests) > 9


def test_drop_without_content_length_is_noticed(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(send=HALF, chunked=True), Plan(chunked=True)]
    fetch()
    assert only_the_file_is_left(target)


def test_stalled_connection_is_given_up_and_resumed(server: Server, target: Path) -> None:
    server.plans = [Plan(send=10_001, pause=1.0), Plan()]
    download(server.url, target, size=len(CONTENT), sha256=sha256(CONTENT), tries=3, backoff=0, timeout=(2, 0.5))
    assert only_the_file_is_left(target)


def test_server_error_is_tried_again(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(status=500), Plan(status=503), Plan()]
    fetch()
    assert only_the_file_is_left(target)


def test_lasting_server_error_is_reported_after_the_tries(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(status=500)]
    with pytest.raises(DownloadError, match=r"in 3 tries: the server answers 500"):
        fetch()
    assert len(server.requests) == 3


def test_pauses_grow_exponentially(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    server.plans = [Plan(status=500)]
    with pytest.raises(DownloadError):
        download(server.url, target, size=1, sha256="", tries=9, backoff=1.0)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_retried(server: Server, target: Path, fetch: Fetch, status: int) -> None:
    server.plans = [Plan(status=status)]
    with pytest.raises(DownloadError, match=f"answers {status}"):
        fetch()
    assert len(server.requests) == 1


def test_status_416_restarts_the_download(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(send=HALF), Plan(status=416), Plan()]
    fetch()
    assert only_the_file_is_left(target)
    assert [request.range for request in server.requests] == [None, f"bytes={HALF}-", None]


def test_a_complete_part_needs_no_request(server: Server, target: Path, fetch: Fetch) -> None:
    leave_part(target, CONTENT, '"one"')
    fetch()
    assert only_the_file_is_left(target)
    assert server.requests == []


def test_a_part_that_is_too_long_restarts_the_download(server: Server, target: Path, fetch: Fetch) -> None:
    leave_part(target, CONTENT + b"x", '"one"')
    fetch()
    assert only_the_file_is_left(target)


def test_server_that_ignores_range_sends_the_whole_file(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(send=HALF, ranges=False), Plan(ranges=False)]
    fetch()
    assert only_the_file_is_left(target)


def test_a_response_from_a_wrong_byte_is_discarded(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(send=HALF), Plan(start_at=HALF - 7), Plan()]
    fetch()
    assert only_the_file_is_left(target)


def test_a_file_that_changed_between_tries_is_downloaded_again(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(content=OTHER, etag='"old"', send=HALF), Plan()]
    fetch()
    assert only_the_file_is_left(target)
    assert server.requests[1].if_range == '"old"'


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_parts_of_two_versions_are_detected_by_the_checksum(
    server: Server, target: Path, fetch: Fetch, etag: str | None
) -> None:
    server.plans = [Plan(content=OTHER, etag=etag, send=HALF), Plan(etag=etag)]
    fetch()
    assert only_the_file_is_left(target)
    assert [request.range for request in server.requests] == [None, f"bytes={HALF}-", None]


def test_an_altered_file_is_rejected_and_discarded(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(content=OTHER)]
    with pytest.raises(DownloadError, match=f"sha256 {sha256(OTHER)}; expected {sha256(CONTENT)}"):
        fetch()
    assert list(target.parent.iterdir()) == []


def test_an_altered_file_on_a_dropping_connection_is_rejected_in_the_end(
    server: Server, target: Path, fetch: Fetch
) -> None:
    server.plans = [Plan(content=OTHER, send=HALF)]
    with pytest.raises(DownloadError, match="in 3 tries"):
        fetch()
    assert not target.exists()


@pytest.mark.parametrize("content", [b"<html>please log in</html>", CONTENT + b"x", CONTENT[:-1]])
def test_a_file_of_another_size_is_not_retried(server: Server, target: Path, fetch: Fetch, content: bytes) -> None:
    server.plans = [Plan(content=content)]
    with pytest.raises(DownloadError, match=f"{len(content):,} bytes .* expected 1,000,000"):
        fetch()
    assert len(server.requests) == 1
    assert not target.exists()


def test_an_endless_file_is_aborted(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(content=CONTENT * 3, chunked=True)]
    with pytest.raises(DownloadError, match="more than the expected"):
        fetch()
    assert not target.exists()


def test_no_network_is_a_download_error(server: Server, target: Path, fetch: Fetch) -> None:
    server.url = "http://127.0.0.1:9/discard"
    with pytest.raises(DownloadError, match="in 3 tries"):
        fetch()


def test_progress_is_printed_in_lines_without_a_terminal(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LINES", 0)
    fetch()
    assert capfd.readouterr().err.splitlines()[-1] == "file.zip: 1 of 1 MB"


def test_an_interrupted_download_resumes(server: Server, target: Path, fetch: Fetch) -> None:
    server.plans = [Plan(pause=0.02), Plan()]
    code = (
        "import sys; from pathlib import Path; from pneumonia.data.download import download;"
        "download(sys.argv[1], Path(sys.argv[2]), size=int(sys.argv[3]), sha256=sys.argv[4])"
    )
    part = target.with_name("file.zip.part")
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.url, str(target), str(len(CONTENT)), sha256(CONTENT)]
    )
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    assert not target.exists()

    fetch()
    assert only_the_file_is_left(target)
    assert server.requests[1].range == f"bytes={kept}-"
