"""Multipart uploads and ZIP archives, split into single files.

Everything is kept in memory. Sizes are limited while bytes are received (`serving.body_limits`) and before an archive
is unpacked. The content of single files is validated where they are decoded (`inference.intake`).
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

from pneumonia.core.errors import ImageError
from pneumonia.serving.body_limits import CLOSE
from pneumonia.serving.problems import Problem
from pneumonia.serving.settings import MIB, RequestLimits

FIELD = "files"
MAXIMUM_NAME_LENGTH = 255
ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of a ZIP archive and of an empty one."""
ENCRYPTED_FLAG = 0x1
RETRY = {"Retry-After": "2"}


@dataclass(frozen=True)
class Upload:
    """One file of a request.

    Attributes:
        name: file name given by the client, for display only; a file in an archive has the archive's name as prefix.
        read: returns the bytes; raises ImageError if the file cannot be unpacked or is not acceptable.
    """

    name: str
    read: Callable[[], bytes]


class MemoryBudget:
    """Limits the bytes held by all requests together; to be used from the event loop only."""

    def __init__(self, size: int) -> None:
        """Set the budget in bytes."""
        self.left = size

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that reserves a number of bytes; all are released at the end of the context."""
        reserved = 0

        def reserve(count: int) -> None:
            nonlocal reserved
            if count > self.left:
                detail = "too many uploads are in progress. Try again in a moment."
                raise Problem(503, "busy", detail, RETRY | CLOSE)
            self.left -= count
            reserved += count

        try:
            yield reserve
        finally:
            self.left += reserved


class _InMemoryParser(MultiPartParser):
    """Never writes a file to disk; `BodyLimitMiddleware` limits its size."""

    spool_max_size = 2**62


async def receive_uploads(request: Request, limits: RequestLimits, reserve: Callable[[int], None]) -> list[Upload]:
    """Return the files of a multipart request in order, with archives replaced by their files.

    Args:
        request: request with the content type ``multipart/form-data``.
        limits: limits on files and archives.
        reserve: reserves memory for received bytes; see `MemoryBudget.share`.

    Raises:
        Problem: the request as a whole is rejected because of its format, its size or its number of files.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Problem(415, "not_multipart", f"expected multipart/form-data with files in the field `{FIELD}`.", CLOSE)
    parser = _InMemoryParser(
        request.headers, _stream(request, reserve), max_files=limits.files, max_fields=0, max_part_size=0
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem(
            400,
            "bad_multipart",
            f"{error.message} Expected at most {limits.files} files in the field `{FIELD}`.",
            CLOSE,
        ) from None
    except ClientDisconnect:
        raise Problem(400, "disconnected", "the client disconnected during the upload.") from None
    try:
        if {name for name, _ in form.multi_items()} - {FIELD}:
            raise Problem(422, "unknown_field", f"expected files in the field `{FIELD}`, and no other field.")
        files = [
            (item.filename or "", item.file.read()) for _, item in form.multi_items() if isinstance(item, UploadFile)
        ]
    finally:
        await form.close()
    uploads = await asyncio.to_thread(lambda: [upload for file in files for upload in _split(*file, limits)])
    if not uploads:
        raise Problem(422, "no_files", f"expected at least one file in the field `{FIELD}`, got none.")
    if len(uploads) > limits.files:
        raise Problem(
            413,
            "too_many_files",
            f"the request has {len(uploads)} images, expected at most {limits.files}. Send fewer images per request.",
        )
    return uploads


async def _stream(request: Request, reserve: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    async for chunk in request.stream():
        reserve(len(chunk))
        yield chunk


def _split(name: str, content: bytes, limits: RequestLimits) -> Iterator[Upload]:
    name = _printable(name)
    if not content.startswith(ZIP_SIGNATURES):
        yield Upload(name, lambda: _validate(content, limits))
        return
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        entries = [entry for entry in archive.infolist() if not (entry.is_dir() or _is_metadata(entry.filename))]
    except Exception as error:  # zipfile raises exceptions of many types for broken files
        yield _unusable(name, f"the ZIP archive cannot be opened ({type(error).__name__}). Create it again.")
        return
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limits.unpacked_bytes:
        allowed = limits.unpacked_bytes / MIB
        reason = f"the ZIP archive has {unpacked / MIB:.0f} MB unpacked, expected at most {allowed:.0f} MB."
        yield _unusable(name, reason)
    elif not entries:
        yield _unusable(name, "the ZIP archive is empty.")
    else:
        yield from (_unpack(name, archive, entry, limits) for entry in entries)


def _unpack(archive_name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: RequestLimits) -> Upload:
    name = _printable(f"{archive_name}/{entry.filename}")
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
        return _unusable(name, "its path points outside the ZIP archive.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        return _unusable(name, "expected an image, got a symbolic link.")
    if entry.flag_bits & ENCRYPTED_FLAG:
        return _unusable(name, "it is encrypted. Create the ZIP archive without a password.")
    if entry.file_size > limits.file_bytes:
        return _unusable(name, _too_large(entry.file_size, limits))

    def read() -> bytes:
        try:
            content = archive.read(entry)
        except Exception as error:  # see `_split`
            raise ImageError(
                f"it cannot be unpacked ({type(error).__name__}). Create the ZIP archive again."
            ) from None
        return _validate(content, limits)

    return Upload(name, read)


def _unusable(name: str, reason: str) -> Upload:
    def read() -> bytes:
        raise ImageError(reason)

    return Upload(name, read)


def _validate(content: bytes, limits: RequestLimits) -> bytes:
    if len(content) > limits.file_bytes:
        raise ImageError(_too_large(len(content), limits))
    if content.startswith(ZIP_SIGNATURES):
        raise ImageError("it is a ZIP archive in a ZIP archive. Unpack the inner one first.")
    return content


def _is_metadata(name: str) -> bool:
    """Return whether an entry is metadata that a file manager has added."""
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts or path.name in (".DS_Store", "Thumbs.db", "desktop.ini")


def _printable(name: str) -> str:
    return "".join(character for character in name if character.isprintable())[-MAXIMUM_NAME_LENGTH:] or "unnamed"


def _too_large(size: int, limits: RequestLimits) -> str:
    return f"the file has {size / MIB:.0f} MB, expected at most {limits.file_bytes / MIB:.0f} MB."
