"""Download one large file over HTTP, with resumption, retries and a checksum."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pneumonia.core.errors import DownloadError
from pneumonia.data import checksum, disk

# Mendeley answers 403 to the User-Agent of scripts.
_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
_CHUNK = 1 << 14  # bytes; the most that a dropped connection loses
_LONGEST_PAUSE = 60.0
_SECONDS_BETWEEN_LINES = 15.0
_TRANSIENT_STATUS = (408, 425, 429)
_STATUS_MEANING = {
    401: "it requires a login",
    403: "it refuses this program or this network; a browser may still download the file",
    404: "the file no longer exists",
    410: "the file no longer exists",
}

_log = logging.getLogger(__name__)


class _TransientError(Exception):
    """A failure of the server or the connection that a retry may overcome."""


_TRANSIENT = (_TransientError, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass(frozen=True)
class _Part:
    """The partial file, and next to it the validator (ETag or date) of its version on the server."""

    path: Path
    validator: Path

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)


def download(
    url: str,
    target: Path,
    *,
    size: int,
    sha256: str,
    tries: int = 5,
    backoff: float = 1.0,
    timeout: tuple[float, float] = (10.0, 60.0),
) -> None:
    """Download ``url`` to ``target``, unless ``target`` already has the checksum.

    Received bytes are kept in ``<target>.part``, also after an interruption, and the next call resumes from there
    (range requests, RFC 9110, section 14); ``target`` itself appears when it is complete and its checksum is correct.

    Args:
        url: http or https; redirects are followed.
        target: path of the finished file; its folder is created.
        size: expected size in bytes.
        sha256: expected checksum.
        tries: consecutive failures without a new byte after which the download fails.
        backoff: seconds before the second try; doubled after every further failure, up to a minute.
        timeout: seconds to wait for a connection, and for the next bytes.

    Raises:
        DownloadError: there is no network, the server refuses or keeps failing, or it sends another file.
        SourceError: the disk is full.
    """
    if target.is_file() and checksum.of_file(target) == sha256:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.validator"))
    furthest = part.size()
    failures = 0
    with (
        disk.explain_full_disk(size - furthest, target.parent),
        _progress(target.name, size) as show,
        requests.Session() as session,
    ):
        while True:
            try:
                resumed = part.size() > 0
                _fetch_rest(session, url, part, size, timeout, show)
                _check(part, sha256, url, resumed)
                break
            except _TRANSIENT as error:
                failures = 1 if part.size() > furthest else failures + 1
                furthest = max(furthest, part.size())
                if failures >= tries:
                    raise DownloadError(
                        f"{url} could not be downloaded in {tries} tries: {_reason(error)}."
                    ) from error
                pause = min(backoff * 2 ** (failures - 1), _LONGEST_PAUSE)
                _log.warning("%s: %s; trying again in %.0f s", target.name, _reason(error), pause)
                time.sleep(pause)
            except requests.RequestException as error:
                raise DownloadError(f"{url} could not be downloaded: {error}.") from error
    part.path.replace(target)
    part.discard()


def _fetch_rest(
    session: requests.Session,
    url: str,
    part: _Part,
    size: int,
    timeout: tuple[float, float],
    show: Callable[[int], None],
) -> None:
    """Append the missing bytes to the part, or restart it where the server cannot resume."""
    if part.size() > size:
        part.discard()
    offset = part.size()
    if offset == size:
        return
    with session.get(url, headers=_headers(offset, part.validator), stream=True, timeout=timeout) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            part.discard()
            raise _TransientError(f"the server cannot resume from byte {offset:,}")
        _refuse_failure(response, url)
        start, total = _range_of(response)
        if total not in (None, size):
            raise DownloadError(
                f"{url} has a file of {total:,} bytes ({response.headers.get('Content-Type', 'unknown type')}); "
                f"expected {size:,}. The file at the source has changed, or the response is a login page."
            )
        if start not in (0, offset):
            part.discard()
            raise _TransientError(f"the server resumed from byte {start:,} instead of {offset:,}")
        with part.path.open("ab" if start else "wb") as file:
            if not start:
                part.validator.write_text(_validator_of(response), encoding="utf-8")
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                file.flush()  # an interruption must not lose received bytes
                show(file.tell())
                if file.tell() > size:
                    raise DownloadError(
                        f"{url} has more than the expected {size:,} bytes. The file at the source has changed."
                    )
    if part.size() < size:
        raise _TransientError(f"the connection ended after {part.size():,} of {size:,} bytes")


def _reason(error: Exception) -> str:
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    return str(error)


def _headers(offset: int, validator_file: Path) -> dict[str, str]:
    headers = {"User-Agent": _USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator_file.exists() and (validator := validator_file.read_text(encoding="utf-8")):
            headers["If-Range"] = validator  # the server sends another version completely
    return headers


def _refuse_failure(response: requests.Response, url: str) -> None:
    status = response.status_code
    if status >= 500 or status in _TRANSIENT_STATUS:
        raise _TransientError(f"the server answers {status} {response.reason}")
    if status not in (200, 206):
        meaning = _STATUS_MEANING.get(status, "expected 200 or 206")
        raise DownloadError(f"{url} answers {status} {response.reason}: {meaning}.")


def _range_of(response: requests.Response) -> tuple[int, int | None]:
    """Return the position of the first byte of a response, and the size of the complete file (None if unknown)."""
    if response.status_code == requests.codes.partial_content:
        try:
            span, total = response.headers.get("Content-Range", "").removeprefix("bytes ").split("/")
            return int(span.split("-")[0]), None if total == "*" else int(total)
        except ValueError:
            raise _TransientError("the Content-Range header of the server is invalid") from None
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _validator_of(response: requests.Response) -> str:
    etag = str(response.headers.get("ETag", ""))
    if etag and not etag.startswith("W/"):  # If-Range does not accept a weak ETag (RFC 9110, 13.1.5)
        return etag
    return str(response.headers.get("Last-Modified", ""))


def _check(part: _Part, sha256: str, url: str, resumed: bool) -> None:
    actual = checksum.of_file(part.path)
    if actual == sha256:
        return
    part.discard()
    if resumed:  # perhaps parts of two versions: restart
        raise _TransientError(f"the resumed file has sha256 {actual} instead of {sha256}")
    raise DownloadError(
        f"{url} has a file with sha256 {actual}; expected {sha256}. It was altered in transit or at the source, and "
        "has been discarded."
    )


@contextmanager
def _progress(name: str, size: int) -> Iterator[Callable[[int], None]]:
    """Yield ``show(received bytes)``: a progress bar on a terminal, elsewhere a line every 15 seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(name, size, console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(name, total=size)
        yield lambda done: bar.update(task, completed=done)


def _lines(name: str, size: int, console: Console) -> Callable[[int], None]:
    last = time.monotonic()

    def show(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            console.print(f"{name}: {done / 1e6:,.0f} of {size / 1e6:,.0f} MB", soft_wrap=True, highlight=False)

    return show
