"""Check the container of an untrusted image file: read format and size in pixels without decoding.

A decoder must not be given a file that is small on disk and huge in memory (a decompression bomb), nor one that is
valid in two formats at once (a polyglot: an image followed by an archive, or a program in front of the DICOM prefix).
"""

import itertools
import re
from dataclasses import dataclass
from typing import Any

from pneumonia.core.errors import ImageError
from pneumonia.images import dicom
from pneumonia.images.formats import DICOM_PREAMBLE, JPEG_MAGIC, PNG_MAGIC, format_of_image

# JPEG (ITU-T T.81, table B.1).
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # 0xF7: JPEG-LS (ITU-T T.87)
START_OF_SCAN = 0xDA
END_OF_IMAGE = 0xD9
MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
MAXIMUM_SCANS = 100
"""A progressive JPEG of a radiograph has about ten; each costs a pass over all pixels."""

# JPEG 2000 (ITU-T T.800, A.4 and A.5.1).
CODESTREAM_START = b"\xff\x4f\xff\x51"

# DICOM (PS3.10, section 7.1): how the preamble may start where it is not all zeros.
TIFF_MAGIC = (b"II*\x00", b"MM\x00*")
PIXEL_DATA = 0x7FE00010
TRAILERS = (0xFFFAFFFA, 0xFFFCFFFC)
"""Elements that may follow the pixels: digital signatures and padding."""


@dataclass(frozen=True)
class Header:
    """Header of an image file, as declared by the file.

    Attributes:
        format: JPEG, PNG or DICOM.
        width: in pixels, as stored.
        height: in pixels, as stored.
        dataset: the parsed header of a DICOM file (a pydicom Dataset), pixels not decoded; None for other formats.
    """

    format: str
    width: int
    height: int
    dataset: Any = None


def measure(content: bytes) -> Header:
    """Read and check the header of an image.

    Raises:
        ImageError: the file is not a JPEG, PNG or DICOM image, is damaged, or holds other data besides one image.
    """
    image_format = format_of_image(content)
    if image_format == "DICOM":
        return _measure_dicom(content)
    return _measure_png(content) if image_format == "PNG" else _measure_jpeg(content)


def _measure_jpeg(content: bytes) -> Header:
    """Read the segments up to the end of the image."""
    size, scans, position = None, 0, len(JPEG_MAGIC)
    while True:
        marker, start, position = _jpeg_segment(content, position)
        if marker == END_OF_IMAGE:
            break
        if marker in START_OF_FRAME:
            if size is not None:
                raise ImageError("the JPEG holds more than one image. Save it again as a plain JPEG.")
            size = _jpeg_size(content, start)
        if marker == START_OF_SCAN:
            scans += 1
            if scans > MAXIMUM_SCANS:
                raise ImageError(f"the JPEG has more than {MAXIMUM_SCANS} scans. Save it again as a plain JPEG.")
            next_marker = MARKER_IN_SCAN.search(content, position)
            if next_marker is None:
                raise _damaged("JPEG")
            position = next_marker.start()
    if size is None:
        raise _damaged("JPEG")
    _refuse_trailer("JPEG", content[position:])
    return Header("JPEG", *size)


def _jpeg_segment(content: bytes, position: int) -> tuple[int, int, int]:
    """Return the marker at ``position``, and where its parameters start and end."""
    while content[position : position + 2] == b"\xff\xff":  # fill bytes
        position += 1
    marker = content[position : position + 2]
    if len(marker) < 2 or marker[0] != 0xFF:
        raise _damaged("JPEG")
    start = position + 2
    if marker[1] == END_OF_IMAGE:
        return END_OF_IMAGE, start, start
    length = int.from_bytes(content[start : start + 2], "big")
    if length < 2 or start + length > len(content):
        raise _damaged("JPEG")
    return marker[1], start, start + length


def _jpeg_size(content: bytes, start: int) -> tuple[int, int]:
    """Return width and height of a frame header: length, precision, lines, samples per line."""
    height, width = (int.from_bytes(content[start + offset : start + offset + 2], "big") for offset in (3, 5))
    return width, height


def _measure_png(content: bytes) -> Header:
    """Read the chunks (length, name, data, checksum; PNG specification, section 5.3) up to the last."""
    position = len(PNG_MAGIC)
    names: list[bytes] = []
    while not names or names[-1] != b"IEND":
        length, name = int.from_bytes(content[position : position + 4], "big"), content[position + 4 : position + 8]
        names.append(name)
        position += length + 12
        if position > len(content):
            raise _damaged("PNG")
    if names[0] != b"IHDR" or names.count(b"IHDR") > 1:
        raise _damaged("PNG")
    if b"acTL" in names:
        raise ImageError("expected one image, but the PNG is animated. Save the radiograph as a plain PNG.")
    _refuse_trailer("PNG", content[position:])
    width, height = (int.from_bytes(content[offset : offset + 4], "big") for offset in (16, 20))
    return Header("PNG", width, height)


def _measure_dicom(content: bytes) -> Header:
    preamble = content[:DICOM_PREAMBLE]
    if preamble.strip(b"\x00") and not preamble.startswith(TIFF_MAGIC):
        raise ImageError("the preamble of the DICOM file starts like another file format. Export it again.")
    dataset = dicom.read(content)
    encapsulated = dicom.DECODERS[dicom.syntax(dataset)] is not None
    elements = itertools.dropwhile(lambda tag: tag != PIXEL_DATA, dataset.keys())  # in the order of the file
    if not set(elements) <= {PIXEL_DATA, *TRAILERS}:
        raise _trailing_data("DICOM")
    try:
        width, height = int(dataset.Columns), int(dataset.Rows)
        frames = int(dataset.get("NumberOfFrames") or 1)
        encoded = _encoded_size(dataset.PixelData) if encapsulated else None
    except Exception:  # pydicom raises many unrelated types for damaged elements
        raise ImageError(
            "expected a DICOM image, but the file has no readable pixels. Send the image itself."
        ) from None
    if frames != 1:
        raise ImageError(f"expected one grey DICOM frame, but the file has {frames}. Send a single frame.")
    if encoded not in (None, (width, height)):
        raise ImageError(
            f"the DICOM header declares {width} x {height} pixels, the compressed image {encoded}. Export it again."
        )
    return Header("DICOM", width, height, dataset)


def _encoded_size(pixel_data: bytes) -> tuple[int, int] | None:
    """Return width and height in the header of a compressed image; None for run lengths, which have no header."""
    from pydicom.encaps import generate_fragments

    picture = b"".join(list(generate_fragments(pixel_data))[1:])
    codestream = picture.find(CODESTREAM_START)
    if codestream >= 0:
        right, bottom, left, top = (
            int.from_bytes(picture[codestream + offset : codestream + offset + 4], "big") for offset in (8, 12, 16, 20)
        )
        return right - left, bottom - top
    if not picture.startswith(JPEG_MAGIC):  # run lengths: pydicom decodes them to the declared size, or fails
        return None
    position = len(JPEG_MAGIC)
    marker = 0
    while marker not in START_OF_FRAME:
        marker, start, position = _jpeg_segment(picture, position)
    return _jpeg_size(picture, start)


def _damaged(image_format: str) -> ImageError:
    return ImageError(f"the {image_format} is damaged or truncated. Fetch it again.")


def _refuse_trailer(image_format: str, rest: bytes) -> None:
    if rest.strip(b"\x00"):
        raise _trailing_data(image_format)


def _trailing_data(image_format: str) -> ImageError:
    return ImageError(f"other data follows the image in this {image_format}. Save it again as a plain {image_format}.")
