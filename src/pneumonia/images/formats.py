"""Which files are read as images: by their name, and by their first bytes where the name does not say.

PACS exports often name files `IM000001` or `1.2.840.113619.2.5`, with no suffix that means anything. Such a file is an
image if it starts like a DICOM file (PS3.10, section 7.1).
"""

from collections.abc import Callable
from pathlib import Path, PurePath

from pneumonia.core.errors import ImageError

JPEG_MAGIC = b"\xff\xd8"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
DICOM_MAGIC = b"DICM"
DICOM_PREAMBLE = 128
"""Bytes before `DICOM_MAGIC`."""

HEAD_SIZE = DICOM_PREAMBLE + len(DICOM_MAGIC)
"""Bytes at the start of a file that tell whether it is DICOM."""

SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".dcm": "DICOM", ".dicom": "DICOM"}
"""Format that a file name suffix announces; suffixes count in any case."""

EXPECTED_FILES = f"{', '.join(SUFFIXES)}, or DICOM files without a suffix"
"""What `is_image` accepts, for messages."""

DICOM_DIRECTORY = "DICOMDIR"
"""Name of the table of contents of a DICOM file set (PS3.10, section 8.6): DICOM content, but no image."""

SYSTEM_NAMES = ("__MACOSX", "Thumbs.db", "desktop.ini")


def format_of(content: bytes) -> str:
    r"""Return the format that the first bytes of a file announce: JPEG, PNG or DICOM; empty for any other.

    Examples:
        >>> format_of(b"\x89PNG\r\n\x1a\n")
        'PNG'
        >>> format_of(bytes(128) + b"DICM")
        'DICOM'
        >>> format_of(b"%PDF-1.7")
        ''
    """
    if content[DICOM_PREAMBLE:HEAD_SIZE] == DICOM_MAGIC:
        return "DICOM"
    if content.startswith(PNG_MAGIC):
        return "PNG"
    return "JPEG" if content.startswith(JPEG_MAGIC) else ""


def format_of_image(content: bytes) -> str:
    """Return the format of an image: JPEG, PNG or DICOM.

    Raises:
        ImageError: the file is empty, or of another format.
    """
    if not content:
        raise ImageError("the file is empty (0 bytes). Fetch it again.")
    if image_format := format_of(content):
        return image_format
    raise ImageError(
        "expected a JPEG, PNG or DICOM image, but the bytes are none of these. Export the radiograph as one of them."
    )


def is_system_file(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or is added by file managers and operating systems."""
    return name.startswith(".") or name in SYSTEM_NAMES


def is_image(path: PurePath, read_head: Callable[[], bytes]) -> bool:
    """Return whether a file in a folder or archive is read as an image.

    Args:
        path: path of the file, relative to the folder or archive.
        read_head: returns the first `HEAD_SIZE` bytes of the file (or all of it); called only where the name has no
            suffix of `SUFFIXES`.

    Examples:
        >>> is_image(PurePath("ward/IM000001"), lambda: bytes(128) + b"DICM")
        True
        >>> is_image(PurePath("ward/scan.JPG"), lambda: b"")
        True
        >>> is_image(PurePath("DICOMDIR"), lambda: bytes(128) + b"DICM")
        False
    """
    if any(map(is_system_file, path.parts)) or path.name.upper() == DICOM_DIRECTORY:
        return False
    return path.suffix.lower() in SUFFIXES or format_of(read_head()) == "DICOM"


def is_image_file(path: Path, folder: Path) -> bool:
    """Return whether a local file below a folder is read as an image; one that cannot be opened is not."""
    return is_image(path.relative_to(folder), lambda: _read_head(path))


def _read_head(path: Path) -> bytes:
    try:
        if not path.is_file():  # opening a named pipe would block
            return b""
        with path.open("rb") as file:
            return file.read(HEAD_SIZE)
    except OSError:
        return b""
