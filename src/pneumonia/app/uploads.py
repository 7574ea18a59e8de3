"""Uploads: from a multipart request, and the zips in it, to single files that are safe to decode.

Everything stays in memory, under limits that are checked while bytes come in (`bodies`) and before a zip is unpacked.
What single files may be is decided where they are decoded (`inference.intake`).
"""

import asyncio
import io
import stat
import zipfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from pneumonia.app.bodies import CLOSE
from pneumonia.app.problems import Problem
from pneumonia.app.settings import MIB, Limits
from pneumonia.errors import ImageError

FIELD = "files"
LONGEST_NAME = 255
ZIP_START = (b"PK\x03\x04", b"PK\x05\x06")  # the latter: an empty one
ENCRYPTED = 0x1
RETRY = {"Retry-After": "2"}


@dataclass(frozen=True)
class Upload:
    """One file of a request.

    Attributes:
        name: as the sender calls it, a zip's name in front of that of its entry; for people, never for a file system.
        read: gives its bytes; raises ImageError where they cannot be had or are not acceptable.
    """

    name: str
    read: Callable[[], bytes]


class Budget:
    """Bytes that all requests together may hold; used from the event loop alone."""

    def __init__(self, size: int) -> None:
        """Set the size in bytes."""
        self.left = size

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Give a function that takes bytes; they come back at the end."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if count > self.left:
                detail = "too many uploads are under way. Try again in a moment."
                raise Problem(503, "busy", detail, RETRY | CLOSE)
            self.left -= count
            taken += count

        try:
            yield take
        finally:
            self.left += taken


class _InMemory(MultiPartParser):
    """Never puts a file on disk; its size is limited where it comes in."""

    spool_max_size = 2**62


async def receive(request: Request, limits: Limits, take: Callable[[int], None]) -> list[Upload]:
    """Receive the files of a multipart request and open its zips, in order.

    Raises:
        Problem: the request as a whole is refused: for its form, its size or its number of files.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Problem(415, "not_multipart", f"expected multipart/form-data with the files as `{FIELD}`.", CLOSE)
    parser = _InMemory(request.headers, _counted(request, take), max_files=limits.files, max_fields=0, max_part_size=0)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem(
            400, "bad_multipart", f"{error.message} Expected at most {limits.files} files, as `{FIELD}`.", CLOSE
        ) from None
    except ClientDisconnect:
        raise Problem(400, "disconnected", "the upload was given up.") from None
    try:
        if {name for name, _ in form.multi_items()} - {FIELD}:
            raise Problem(422, "unknown_field", f"expected files as `{FIELD}`, and no other field.")
        sent = [
            (item.filename or "", item.file.read()) for _, item in form.multi_items() if isinstance(item, UploadFile)
        ]
    finally:
        await form.close()
    uploads = await asyncio.to_thread(lambda: [upload for file in sent for upload in _files_of(*file, limits)])
    if not uploads:
        raise Problem(422, "no_files", f"expected one file or more as `{FIELD}`, but none came.")
    if len(uploads) > limits.files:
        raise Problem(
            413, "too_many_files", f"{len(uploads)} images came, expected at most {limits.files} at once. Send fewer."
        )
    return uploads


async def _counted(request: Request, take: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    async for chunk in request.stream():
        take(len(chunk))
        yield chunk


def _files_of(name: str, content: bytes, limits: Limits) -> Iterator[Upload]:
    name = _printable(name)
    if not content.startswith(ZIP_START):
        yield Upload(name, lambda: _acceptable(content, limits))
        return
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        entries = [entry for entry in archive.infolist() if not (entry.is_dir() or _is_litter(entry.filename))]
    except Exception as error:  # zipfile raises many unrelated types for broken files
        yield _refused(name, f"the zip cannot be opened ({type(error).__name__}). Pack it again.")
        return
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limits.unpacked_bytes:
        yield _refused(
            name,
            f"the zip holds {unpacked / MIB:.0f} MB unpacked, expected at most {limits.unpacked_bytes / MIB:.0f} MB.",
        )
    elif not entries:
        yield _refused(name, "the zip is empty.")
    else:
        yield from (_unpacked(name, archive, entry, limits) for entry in entries)


def _unpacked(archive_name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits) -> Upload:
    name = _printable(f"{archive_name}/{entry.filename}")
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
        return _refused(name, "its path points out of the zip.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        return _refused(name, "it is a link, expected an image.")
    if entry.flag_bits & ENCRYPTED:
        return _refused(name, "it is encrypted. Pack it without a password.")
    if entry.file_size > limits.file_bytes:
        return _refused(name, _too_large(entry.file_size, limits))

    def read() -> bytes:
        try:
            content = archive.read(entry)
        except Exception as error:  # as above
            raise ImageError(f"it cannot be unpacked ({type(error).__name__}). Pack it again.") from None
        return _acceptable(content, limits)

    return Upload(name, read)


def _refused(name: str, reason: str) -> Upload:
    def read() -> bytes:
        raise ImageError(reason)

    return Upload(name, read)


def _acceptable(content: bytes, limits: Limits) -> bytes:
    if len(content) > limits.file_bytes:
        raise ImageError(_too_large(len(content), limits))
    if content.startswith(ZIP_START):
        raise ImageError("it is a zip in a zip. Unpack the inner one first.")
    return content


def _is_litter(name: str) -> bool:
    """What file managers add to zips and nobody means to send."""
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts or path.name in (".DS_Store", "Thumbs.db", "desktop.ini")


def _printable(name: str) -> str:
    return "".join(sign for sign in name if sign.isprintable())[-LONGEST_NAME:] or "unnamed"


def _too_large(size: int, limits: Limits) -> str:
    return f"it has {size / MIB:.0f} MB, expected at most {limits.file_bytes / MIB:.0f} MB."
