"""What the bytes of an image claim to be, read without decoding a pixel: its kind and how large it is.

For bytes from strangers. A decoder must not be handed a file that is small on disk and huge in memory, nor one that is
an image and something else at once (a polyglot: a picture with an archive behind it, a program before a DICOM mark).
"""

import itertools
import re
from dataclasses import dataclass
from typing import Any

from pneumonia.errors import ImageError
from pneumonia.images import dicom

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"

# JPEG (ITU-T T.81, table B.1).
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # 0xF7: JPEG-LS (ITU-T T.87)
START_OF_SCAN = 0xDA
END_OF_IMAGE = 0xD9
MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
MAXIMUM_SCANS = 100
"""A progressive radiograph has about ten; each costs a pass over all pixels."""

# JPEG 2000 (ITU-T T.800, A.4 and A.5.1).
CODESTREAM_START = b"\xff\x4f\xff\x51"

# DICOM (PS3.10, section 7.1): what the first 128 bytes may be, besides zeros.
TIFF_STARTS = (b"II*\x00", b"MM\x00*")
PIXEL_DATA = 0x7FE00010
TRAILERS = (0xFFFAFFFA, 0xFFFCFFFC)
"""Digital signatures and padding: what may follow the pixels."""


@dataclass(frozen=True)
class Header:
    """What a file claims to be.

    Attributes:
        format: JPEG, PNG or DICOM.
        width: in pixels, as stored.
        height: in pixels, as stored.
        dataset: of a DICOM file, what stands in it (a pydicom Dataset).
    """

    format: str
    width: int
    height: int
    dataset: Any = None


def measure(content: bytes) -> Header:
    """Read the header of an image.

    Raises:
        ImageError: the bytes are no JPEG, PNG or DICOM file, are broken, or are something else besides.
    """
    if dicom.is_dicom(content):
        return _measure_dicom(content)
    if content.startswith(PNG_START):
        return _measure_png(content)
    if content.startswith(JPEG_START):
        return _measure_jpeg(content)
    raise ImageError(
        "expected a JPEG, PNG or DICOM image, but the bytes are none of these. Export the radiograph as one of them."
    )


def _measure_jpeg(content: bytes) -> Header:
    """Walk through the segments to the end of the image."""
    size, scans, place = None, 0, len(JPEG_START)
    while True:
        marker, start, place = _jpeg_segment(content, place)
        if marker == END_OF_IMAGE:
            break
        if marker in START_OF_FRAME:
            if size is not None:
                raise ImageError("the JPEG holds more than one picture. Save it again as a plain JPEG.")
            size = _jpeg_size(content, start)
        if marker == START_OF_SCAN:
            scans += 1
            if scans > MAXIMUM_SCANS:
                raise ImageError(f"the JPEG has more than {MAXIMUM_SCANS} scans. Save it again as a plain JPEG.")
            found = MARKER_IN_SCAN.search(content, place)
            if found is None:
                raise _cut("JPEG")
            place = found.start()
    if size is None:
        raise _cut("JPEG")
    _refuse_trailer("JPEG", content[place:])
    return Header("JPEG", *size)


def _jpeg_segment(content: bytes, place: int) -> tuple[int, int, int]:
    """Return the marker at ``place``, where its parameters start and where they end."""
    while content[place : place + 2] == b"\xff\xff":  # fill bytes
        place += 1
    marker = content[place : place + 2]
    if len(marker) < 2 or marker[0] != 0xFF:
        raise _cut("JPEG")
    start = place + 2
    if marker[1] == END_OF_IMAGE:
        return END_OF_IMAGE, start, start
    length = int.from_bytes(content[start : start + 2], "big")
    if length < 2 or start + length > len(content):
        raise _cut("JPEG")
    return marker[1], start, start + length


def _jpeg_size(content: bytes, start: int) -> tuple[int, int]:
    """Return width and height of a frame header: length, precision, lines, samples per line."""
    height, width = (int.from_bytes(content[start + at : start + at + 2], "big") for at in (3, 5))
    return width, height


def _measure_png(content: bytes) -> Header:
    """Walk through the chunks (length, name, data, checksum; PNG specification, section 5.3) to the last."""
    place = len(PNG_START)
    names: list[bytes] = []
    while not names or names[-1] != b"IEND":
        length, name = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        names.append(name)
        place += length + 12
        if place > len(content):
            raise _cut("PNG")
    if names[0] != b"IHDR" or names.count(b"IHDR") > 1:
        raise _cut("PNG")
    if b"acTL" in names:
        raise ImageError("expected one picture, but the PNG is an animation. Save the radiograph by itself.")
    _refuse_trailer("PNG", content[place:])
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    return Header("PNG", width, height)


def _measure_dicom(content: bytes) -> Header:
    preamble = content[: dicom.MARK_OFFSET]
    if preamble.strip(b"\x00") and not preamble.startswith(TIFF_STARTS):
        raise ImageError("the DICOM file starts as a file of another kind does. Export it again.")
    dataset = dicom.read(content)
    encapsulated = dicom.DECODERS[dicom.syntax(dataset)] is not None
    behind = itertools.dropwhile(lambda tag: tag != PIXEL_DATA, dataset.keys())  # in the order of the file
    if not set(behind) <= {PIXEL_DATA, *TRAILERS}:
        raise _trailed("DICOM")
    try:
        width, height = int(dataset.Columns), int(dataset.Rows)
        frames = int(dataset.get("NumberOfFrames") or 1)
        encoded = _encoded_size(dataset.PixelData) if encapsulated else None
    except Exception:  # pydicom raises many unrelated types for broken elements
        raise ImageError("expected a DICOM image, but it has no readable pixels. Send the image itself.") from None
    if frames != 1:
        raise ImageError(f"expected one grey DICOM frame, but the file has {frames}. Send one image of it.")
    if encoded not in (None, (width, height)):
        raise ImageError(f"the DICOM header says {width} x {height} pixels, its picture {encoded}. Export it again.")
    return Header("DICOM", width, height, dataset)


def _encoded_size(pixel_data: bytes) -> tuple[int, int] | None:
    """Return width and height of an encapsulated picture as its own header has them; None where it has none."""
    from pydicom.encaps import generate_fragments

    picture = b"".join(list(generate_fragments(pixel_data))[1:])
    codestream = picture.find(CODESTREAM_START)
    if codestream >= 0:
        right, bottom, left, top = (
            int.from_bytes(picture[codestream + at : codestream + at + 4], "big") for at in (8, 12, 16, 20)
        )
        return right - left, bottom - top
    if not picture.startswith(JPEG_START):  # run lengths: pydicom decodes them to what the header says, or fails
        return None
    place = len(JPEG_START)
    marker = 0
    while marker not in START_OF_FRAME:
        marker, start, place = _jpeg_segment(picture, place)
    return _jpeg_size(picture, start)


def _cut(kind: str) -> ImageError:
    return ImageError(f"the {kind} is broken or cut. Fetch it again.")


def _refuse_trailer(kind: str, rest: bytes) -> None:
    if rest.strip(b"\x00"):
        raise _trailed(kind)


def _trailed(kind: str) -> ImageError:
    return ImageError(f"the {kind} has other data behind its picture. Save it again as a plain {kind}.")
