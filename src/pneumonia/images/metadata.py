"""Metadata of image files: format, size in pixels, colour mode and JPEG quality."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.images import dicom
from pneumonia.images.decode import open_grey
from pneumonia.images.formats import format_of_image

FULL_SIZE = 1 << 16
"""More pixels per side than a JPEG can have, so that its decoder reduces nothing."""

# Recommendation ITU-T T.81 (JPEG), table K.1: the luminance quantisation table that IJG's libjpeg scales.
LUMINANCE_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


@dataclass(frozen=True)
class ImageMetadata:
    """Metadata of one image file.

    Attributes:
        format: JPEG, PNG or DICOM.
        width: in pixels, as stored (before any EXIF rotation).
        height: in pixels, as stored.
        mode: colour mode in Pillow's terms (L, RGB, ...); of DICOM, the photometric interpretation.
        jpeg_quality: estimated quality setting, 1 to 100; None for other formats.
    """

    format: str
    width: int
    height: int
    mode: str
    jpeg_quality: int | None


def read_metadata(content: bytes) -> ImageMetadata:
    """Decode an image completely and return its metadata.

    The pixels go through the decoder of `images.decode`: what is accepted here can be decoded there.

    Args:
        content: bytes of a JPEG, PNG or DICOM file.

    Raises:
        ImageError: as for `images.decode.decode`.

    Examples:
        >>> file = io.BytesIO()
        >>> Image.new("L", (40, 30)).save(file, "JPEG", quality=83)
        >>> read_metadata(file.getvalue())
        ImageMetadata(format='JPEG', width=40, height=30, mode='L', jpeg_quality=83)
    """
    image_format = format_of_image(content)
    open_grey(content, FULL_SIZE)
    if image_format == "DICOM":
        dataset = dicom.read(content)
        return ImageMetadata(
            image_format, int(dataset.Columns), int(dataset.Rows), str(dataset.PhotometricInterpretation), None
        )
    mode, quality, (width, height) = _read_header(content, image_format)
    return ImageMetadata(image_format, width, height, mode, quality)


def read_encoding(content: bytes, image_format: str) -> tuple[str, int | None]:
    """Return colour mode and JPEG quality (None for PNG) of a JPEG or PNG file from its header, decoding no pixel."""
    mode, quality, _ = _read_header(content, image_format)
    return mode, quality


def jpeg_quality(table: NDArray[np.integer]) -> int:
    """Estimate the IJG quality setting of a JPEG file.

    The result is the setting whose standard table has the closest sum of entries: exact for files written by libjpeg,
    the nearest equivalent for the tables of other encoders. Source of the scaling: ``jpeg_quality_scaling`` and
    ``jpeg_add_quant_table`` in the Independent JPEG Group's libjpeg, jcparam.c.

    Args:
        table: luminance quantisation table, 64 entries.

    Returns:
        1 to 100.

    Examples:
        >>> jpeg_quality(LUMINANCE_TABLE)
        50
    """
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    standard = np.clip((LUMINANCE_TABLE.reshape(1, 64) * percent[:, None] + 50) // 100, 1, 255)
    return int(quality[np.abs(standard.sum(axis=1) - table.sum()).argmin()])


def _read_header(content: bytes, image_format: str) -> tuple[str, int | None, tuple[int, int]]:
    with Image.open(io.BytesIO(content), formats=[image_format]) as image:
        tables = getattr(image, "quantization", None)
        return image.mode, jpeg_quality(np.array(tables[0])) if tables else None, image.size
