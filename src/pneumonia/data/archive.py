"""Unpack untrusted zip archives."""

import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from pneumonia.core.errors import ArchiveError
from pneumonia.data import disk

_CHUNK = 1 << 20
_LONGEST_NAME = 255  # bytes, on all common file systems
# zipfile decompresses bzip2 and LZMA in one call, so that a few bytes could fill the memory before any limit applies.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, ValueError)


@dataclass(frozen=True)
class ExpansionLimits:
    """Limits on the unpacked size of an archive, applied to the bytes that are read, not to the declared sizes.

    Attributes:
        ratio: unpacked bytes per packed byte, of each member and of the whole. Images reach 1 to 3, DICOM with wide
            black borders up to about 50, and a zip bomb 1,000 and more.
        free_bytes: unpacked bytes that are allowed at any ratio, since small blank files compress very well.
        member: bytes of one member.
        total: bytes of all members together.
    """

    ratio: int = 100
    free_bytes: int = 1 << 20
    member: int = 1 << 30
    total: int = 1 << 38


def extract(archive: Path, destination: Path, limits: ExpansionLimits = ExpansionLimits()) -> None:
    """Unpack every member of a zip archive below ``destination``, which is created when missing.

    No member is written before the names of all have been checked.

    Raises:
        ArchiveError: the archive is not a zip, is truncated or corrupt, expands beyond ``limits``, or has a member
            that is encrypted, compressed by an uncommon method, a link, a duplicate, or would be written outside of
            ``destination``.
        SourceError: the disk is full.
    """
    destination.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _checked_members(opened, archive)
            declared = sum(info.file_size for info in members.values())
            if declared > limits.total:
                raise _refusal(archive, f"declares {declared:,} unpacked bytes; at most {limits.total:,} are allowed")
            with disk.explain_full_disk(declared, destination):
                _write(opened, archive, members, destination, limits)
    except _BROKEN as error:
        raise _broken(archive, str(error)) from error


def _checked_members(opened: zipfile.ZipFile, archive: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in opened.infolist():
        if fault := _fault(info):
            raise _refusal(archive, f"holds {info.orig_filename!r}, {fault}")
        path = PurePosixPath(info.filename)
        if info.is_dir():
            continue
        if path in members:
            raise _refusal(archive, f"holds {info.filename!r} twice")
        members[path] = info
    return members


def _fault(info: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(info.filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if path.is_absolute() or PureWindowsPath(info.filename).drive or "\\" in info.orig_filename:
        return "an absolute or Windows path"
    if ".." in path.parts:
        return "a path outside of the folder"
    if not path.parts or "\0" in info.orig_filename or max(len(part.encode()) for part in path.parts) > _LONGEST_NAME:
        return "an empty, malformed or overlong name"
    if info.header_offset < 0:
        return "which starts outside of the archive"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):  # 0: made on a system without Unix modes
        return "a link or special file"
    if info.flag_bits & 0x1:
        return "which is encrypted"
    if info.compress_type not in _METHODS:
        return "compressed by another method than store or deflate"
    return None


def _write(
    opened: zipfile.ZipFile,
    archive: Path,
    members: dict[PurePosixPath, zipfile.ZipInfo],
    destination: Path,
    limits: ExpansionLimits,
) -> None:
    packed = archive.stat().st_size
    left = min(limits.total, max(limits.free_bytes, limits.ratio * packed))
    for path, info in members.items():
        # A header may declare more packed bytes than the whole archive has.
        allowed = min(limits.member, max(limits.free_bytes, limits.ratio * min(info.compress_size, packed)))
        target = destination / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(info) as source, target.open("xb") as file:
                while chunk := source.read(_CHUNK):
                    allowed -= len(chunk)
                    left -= len(chunk)
                    if min(allowed, left) < 0:
                        raise _refusal(archive, f"expands beyond the limits at {info.filename!r}, like a zip bomb")
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError) as error:
            raise _refusal(archive, f"holds {info.filename!r} beside another member of that name") from error
        except _BROKEN as error:
            raise _broken(archive, f"{info.filename}: {error}") from error


def _refusal(archive: Path, reason: str) -> ArchiveError:
    return ArchiveError(
        f"{archive.name} {reason}. Such an archive is not unpacked; expected plain image files in folders. "
        "Check its origin, or unpack it yourself and use the folder instead."
    )


def _broken(archive: Path, reason: str) -> ArchiveError:
    return ArchiveError(
        f"{archive.name} cannot be unpacked ({reason}): it is truncated, damaged or not a zip archive. "
        "Download it again, and compare its size with the original."
    )
