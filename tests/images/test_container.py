"""What bytes claim to be is read without decoding, and what is more than an image is refused."""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from pneumonia.errors import ImageError
from pneumonia.images import container
from tests.images.test_decode import dicom, encoded, png_that_claims

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
    """The DICOM file with other values, written anew."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def deflated() -> bytes:
    return Path(str(get_testdata_file("image_dfl.dcm", download=False))).read_bytes()


def dicom_of_a_larger_picture() -> bytes:
    """A header of 90 x 120 pixels around a JPEG 2000 picture of 2000 x 2000."""
    picture = encoded(Image.new("L", (2000, 2000)), "JPEG2000", no_jp2=True)
    dataset = pydicom.dcmread(io.BytesIO(DICOM))
    dataset.PixelData = encapsulate([picture])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
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
        pytest.param(b"II*\x00" + DICOM[4:], "DICOM", id="DICOM and TIFF in one, as the standard has it"),
    ],
)
def test_kind_and_size_are_read(content: bytes, form: str) -> None:
    header = container.measure(content)

    assert (header.format, header.width, header.height) == (form, 120, 90)


def test_a_bomb_is_measured_not_decoded() -> None:
    header = container.measure(png_that_claims(60_000, 50_000))

    assert (header.width, header.height) == (60_000, 50_000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(JPEG + archive(), "other data behind", id="JPEG with an archive behind it"),
        pytest.param(PNG + b"<html><script>", "other data behind", id="PNG with a page behind it"),
        pytest.param(JPEG + JPEG, "other data behind", id="two JPEG"),
        pytest.param(JPEG[:-2] + JPEG[2:], "more than one picture", id="a JPEG within a JPEG"),
        pytest.param(b"MZ" + DICOM[2:], "starts as a file of another kind", id="DICOM that is a program"),
        pytest.param(b"<html>" + DICOM[6:], "starts as a file of another kind", id="DICOM that is a page"),
        pytest.param(
            JPEG[:128] + b"DICM" + JPEG[132:], "starts as a file of another kind", id="JPEG with DICOM's mark"
        ),
        pytest.param(DICOM + archive(), "other data behind", id="DICOM with an archive behind it"),
        pytest.param(deflated(), "deflated", id="deflated DICOM"),
        pytest.param(dicom_of_a_larger_picture(), r"120 x 90 pixels, its picture \(2000, 2000\)", id="DICOM bomb"),
        pytest.param(changed(DICOM, NumberOfFrames="5000"), "one grey DICOM frame.*5000", id="DICOM film"),
        pytest.param(animation(), "animation", id="animated PNG"),
        pytest.param(with_scans(200), "scans", id="JPEG with very many scans"),
        pytest.param(JPEG[:-10], "JPEG is broken or cut", id="cut JPEG"),
        pytest.param(JPEG[:20], "JPEG is broken or cut", id="JPEG without a frame"),
        pytest.param(PNG[:-10], "PNG is broken or cut", id="cut PNG"),
        pytest.param(encoded(IMAGE, "GIF"), "none of these", id="GIF"),
        pytest.param(encoded(IMAGE, "TIFF"), "none of these", id="TIFF"),
        pytest.param(b"%PDF-1.7\n", "none of these", id="PDF"),
        pytest.param(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "none of these", id="SVG"),
        pytest.param(b"<!doctype html>", "none of these", id="HTML"),
        pytest.param(archive(), "none of these", id="archive"),
        pytest.param(b"", "none of these", id="empty"),
    ],
)
def test_what_is_no_single_image_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        container.measure(content)


def test_a_chunk_that_claims_more_than_there_is() -> None:
    chunk = struct.pack(">I", 2**31 - 1) + b"IDAT" + zlib.compress(bytes(10))
    with pytest.raises(ImageError, match="broken or cut"):
        container.measure(PNG[:33] + chunk)


def test_run_lengths_are_measured_by_the_header_alone() -> None:
    dataset = pydicom.dcmread(io.BytesIO(DICOM))
    dataset.compress(RLELossless)
    file = io.BytesIO()
    dataset.save_as(file)

    assert container.measure(file.getvalue()).width == 120
