"""Headers are read without decoding, and files that hold more than one image are rejected."""

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import RLELossless

from pneumonia.core.errors import ImageError
from pneumonia.images import container
from tests.support.images import deflated_dicom, dicom, dicom_of_a_larger_picture, encoded, png_that_claims

PICTURE = np.arange(90 * 120, dtype=np.uint16).reshape(90, 120).astype(np.uint8)
IMAGE = Image.fromarray(PICTURE)
JPEG, PROGRESSIVE = encoded(IMAGE, "JPEG"), encoded(IMAGE, "JPEG", progressive=True)
PNG = encoded(IMAGE, "PNG")
DICOM = dicom(PICTURE)


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("program.sh", "echo")
    return file.getvalue()


def changed(content: bytes, **values: Any) -> bytes:
    """The DICOM file, encoded again with other values."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def animation() -> bytes:
    file = io.BytesIO()
    IMAGE.save(file, "PNG", save_all=True, append_images=[Image.fromarray(255 - PICTURE)])
    return file.getvalue()


def with_scans(count: int) -> bytes:
    start = PROGRESSIVE.index(b"\xff\xda")
    end = PROGRESSIVE.index(b"\xff\xda", start + 2) if b"\xff\xda" in PROGRESSIVE[start + 2 :] else -2
    return PROGRESSIVE[:start] + PROGRESSIVE[start:end] * count + PROGRESSIVE[end:]


@pytest.mark.parametrize(
    ("content", "form"),
    [
        pytest.param(JPEG, "JPEG", id="JPEG"),
        pytest.param(PROGRESSIVE, "JPEG", id="progressive JPEG"),
        pytest.param(
            encoded(IMAGE.convert("RGB"), "JPEG", exif=Image.Exif(), comment=b"a word"), "JPEG", id="segments"
        ),
        pytest.param(JPEG + bytes(100), "JPEG", id="padded JPEG"),
        pytest.param(PNG, "PNG", id="PNG"),
        pytest.param(DICOM, "DICOM", id="DICOM"),
        pytest.param(b"II*\x00" + DICOM[4:], "DICOM", id="DICOM and TIFF in one, as the standard allows"),
    ],
)
def test_format_and_size_are_read(content: bytes, form: str) -> None:
    header = container.measure(content)

    assert (header.format, header.width, header.height) == (form, 120, 90)


def test_a_decompression_bomb_is_measured_without_decoding() -> None:
    header = container.measure(png_that_claims(60_000, 50_000))

    assert (header.width, header.height) == (60_000, 50_000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(JPEG + archive(), "other data follows the image", id="JPEG with an archive after it"),
        pytest.param(PNG + b"<html><script>", "other data follows the image", id="PNG with a page after it"),
        pytest.param(JPEG + JPEG, "other data follows the image", id="two JPEG"),
        pytest.param(JPEG[:-2] + JPEG[2:], "more than one image", id="a JPEG within a JPEG"),
        pytest.param(b"MZ" + DICOM[2:], "preamble .* like another file format", id="DICOM that is a program"),
        pytest.param(b"<html>" + DICOM[6:], "preamble .* like another file format", id="DICOM that is a page"),
        pytest.param(
            JPEG[:128] + b"DICM" + JPEG[132:], "preamble .* like another file format", id="JPEG with the DICOM prefix"
        ),
        pytest.param(DICOM + archive(), "other data follows the image", id="DICOM with an archive after it"),
        pytest.param(deflated_dicom(), "deflated", id="deflated DICOM"),
        pytest.param(
            dicom_of_a_larger_picture(), r"120 x 90 pixels, the compressed image \(2000, 2000\)", id="DICOM bomb"
        ),
        pytest.param(changed(DICOM, NumberOfFrames="5000"), "one grey DICOM frame.*5000", id="multi-frame DICOM"),
        pytest.param(animation(), "animated", id="animated PNG"),
        pytest.param(with_scans(200), "scans", id="JPEG with very many scans"),
        pytest.param(JPEG[:-10], "JPEG is damaged or truncated", id="truncated JPEG"),
        pytest.param(JPEG[:20], "JPEG is damaged or truncated", id="JPEG without a frame"),
        pytest.param(PNG[:-10], "PNG is damaged or truncated", id="truncated PNG"),
        pytest.param(encoded(IMAGE, "GIF"), "none of these", id="GIF"),
        pytest.param(encoded(IMAGE, "TIFF"), "none of these", id="TIFF"),
        pytest.param(b"%PDF-1.7\n", "none of these", id="PDF"),
        pytest.param(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "none of these", id="SVG"),
        pytest.param(b"<!doctype html>", "none of these", id="HTML"),
        pytest.param(archive(), "none of these", id="archive"),
        pytest.param(b"", "empty", id="empty"),
    ],
)
def test_files_that_are_not_exactly_one_image_are_rejected(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        container.measure(content)


def test_a_png_chunk_longer_than_the_file_is_rejected() -> None:
    chunk = struct.pack(">I", 2**31 - 1) + b"IDAT" + zlib.compress(bytes(10))
    with pytest.raises(ImageError, match="damaged or truncated"):
        container.measure(PNG[:33] + chunk)


def test_run_length_encoded_dicom_is_measured_by_its_header() -> None:
    dataset = pydicom.dcmread(io.BytesIO(DICOM))
    dataset.compress(RLELossless)
    file = io.BytesIO()
    dataset.save_as(file)

    assert container.measure(file.getvalue()).width == 120
