"""Untrusted files: decoding, DICOM metadata without patient data, and refusals before the model."""

import io
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image
from pydicom.data import get_testdata_file

from pneumonia.bundle import golden
from pneumonia.core.errors import ImageError
from pneumonia.images.decode import decode
from pneumonia.inference.intake import DISPLAY_SIDE, Limits, refuse, take_in
from tests.support.images import dicom, dicom_of_a_larger_picture, encoded, png_that_claims, slope

SIZE = 64
LIMITS = Limits(bytes=20_000_000, pixels=30_000_000)
PICTURE = slope(150, 200)
NAME = "Doe^Jane"

COMPRESSED = {
    "JPEG 2000": "MR_small_jp2klossless.dcm",
    "JPEG-LS": "MR_small_jpeg_ls_lossless.dcm",
    "run lengths": "MR_small_RLE.dcm",
}
"""Files that pydicom brings, each made of MR_small.dcm without loss."""


def bundled(name: str) -> bytes:
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


def jpeg_lossless(content: bytes, folder: Path) -> bytes:
    """The DICOM file in JPEG lossless, by GDCM."""
    import gdcm

    (folder / "plain.dcm").write_bytes(content)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(folder / "plain.dcm"))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(folder / "lossless.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return (folder / "lossless.dcm").read_bytes()


@pytest.mark.parametrize("name", golden.images())
def test_square_is_that_of_the_training_decoder(name: str) -> None:
    content = golden.images()[name]

    np.testing.assert_array_equal(take_in(content, SIZE, LIMITS).square, decode(content, SIZE))


def test_display_image_keeps_its_shape() -> None:
    intake = take_in(encoded(Image.fromarray(PICTURE), "PNG"), SIZE, LIMITS)

    np.testing.assert_array_equal(intake.pixels, PICTURE)
    assert (intake.format, intake.width, intake.height) == ("PNG", 200, 150)


def test_large_image_is_scaled_down_for_display() -> None:
    pixels = take_in(encoded(Image.fromarray(slope(1000, 4000)), "PNG"), SIZE, LIMITS).pixels

    assert pixels.shape == (DISPLAY_SIDE // 4, DISPLAY_SIDE)


def test_exif_orientation_is_applied_to_the_display_image() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    intake = take_in(encoded(Image.fromarray(PICTURE), "PNG", exif=exif), SIZE, LIMITS)

    np.testing.assert_array_equal(intake.pixels, np.rot90(PICTURE, -1))


@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_dicom_gives_the_pixels_of_the_plain_one(kind: str) -> None:
    plain = take_in(bundled("MR_small.dcm"), SIZE, LIMITS)

    np.testing.assert_array_equal(take_in(bundled(COMPRESSED[kind]), SIZE, LIMITS).pixels, plain.pixels)


@pytest.mark.parametrize("levels", [PICTURE, PICTURE.astype(np.uint16) * 16], ids=["8 bits", "16 bits"])
def test_jpeg_lossless_dicom_gives_the_pixels_of_the_plain_one(levels: NDArray[Any], tmp_path: Path) -> None:
    plain = dicom(levels)

    squeezed = take_in(jpeg_lossless(plain, tmp_path), SIZE, LIMITS)

    np.testing.assert_array_equal(squeezed.pixels, take_in(plain, SIZE, LIMITS).pixels)


def test_header_metadata_is_read_without_the_patient() -> None:
    content = dicom(
        PICTURE,
        Modality="DX",
        ViewPosition="AP",
        PatientAge="018M",
        BodyPartExamined="CHEST",
        Manufacturer="Maker",
        PatientName=NAME,
        PatientID="4711",
        IssuerOfPatientID="Ward",
    )

    intake = take_in(content, SIZE, LIMITS)

    assert (intake.modality, intake.view, intake.body_part, intake.maker) == ("DX", "AP", "CHEST", "Maker")
    assert intake.age_years == 1.5
    assert intake.patient_identifier == "Ward/4711"
    assert not any(text in repr(intake) for text in ("4711", "Doe", "Ward"))
    assert refuse(intake) is None


def test_name_in_a_code_string_is_dropped() -> None:
    content = dicom(PICTURE, ViewPosition="A" * 8, BodyPartExamined="A" * 8, Modality="A" * 8)

    intake = take_in(content.replace(b"A" * 8, NAME.encode()), SIZE, LIMITS)

    assert (intake.view, intake.body_part, intake.modality) == (None, None, None)


def test_errors_and_warnings_of_a_broken_header_do_not_quote_it(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    content = dicom(PICTURE, WindowCenter="100", WindowWidth="100", PatientName=NAME)
    broken = content.replace(b"100 ", b"Doe ")

    with warnings.catch_warnings(record=True, action="always") as warned, pytest.raises(ImageError) as refused:
        take_in(broken, SIZE, LIMITS)

    output = (
        str(refused.value) + caplog.text + "".join(capfd.readouterr()) + "".join(str(each.message) for each in warned)
    )
    assert "Doe" not in " ".join(output)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("content", "limits", "message"),
    [
        pytest.param(bytes(1001), Limits(1000, 1000), "1,001 bytes; 1,000 are allowed", id="bytes"),
        pytest.param(png_that_claims(60_000, 60_000), LIMITS, "declares 60000 x 60000 pixels", id="PNG bomb"),
        pytest.param(png_that_claims(0, 100), LIMITS, "declares 0 x 100 pixels", id="no pixels"),
        pytest.param(dicom(PICTURE, Rows=60_000, Columns=60_000), LIMITS, "declares 60000 x 60000", id="DICOM bomb"),
        pytest.param(dicom_of_a_larger_picture(), LIMITS, "Export it again", id="DICOM bomb in JPEG 2000"),
        pytest.param(b"", LIMITS, r"empty \(0 bytes\)", id="empty"),
    ],
)
def test_files_above_the_limits_are_not_decoded(content: bytes, limits: Limits, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        take_in(content, SIZE, limits)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(encoded(Image.fromarray(slope(99, 300)), "PNG"), "too_small", id="small"),
        pytest.param(encoded(Image.new("L", (300, 300), 90), "PNG"), "blank", id="blank"),
        pytest.param(dicom(PICTURE, Modality="MR"), "not_a_radiograph", id="MR"),
        pytest.param(dicom(PICTURE, BodyPartExamined="HAND"), "not_a_radiograph", id="hand"),
        pytest.param(dicom(PICTURE, ViewPosition="LL"), "not_frontal", id="left lateral"),
        pytest.param(dicom(PICTURE, ViewPosition="LATERAL"), "not_frontal", id="lateral"),
        pytest.param(dicom(PICTURE, PatientAge="018Y"), "adult", id="adult"),
        pytest.param(dicom(PICTURE, PatientAge="017Y", ViewPosition="PA", BodyPartExamined="CHEST"), None, id="child"),
        pytest.param(dicom(PICTURE, ViewPosition="AP SUPINE"), None, id="lying"),
        pytest.param(dicom(PICTURE, PatientAge="099Y").replace(b"099Y", b"oldY"), None, id="no age"),
        pytest.param(encoded(Image.fromarray(PICTURE), "JPEG"), None, id="JPEG"),
    ],
)
def test_refusals_by_header_and_grey_levels(content: bytes, code: str | None) -> None:
    refusal = refuse(take_in(content, SIZE, LIMITS))

    assert (refusal and refusal.code) == code
    assert refusal is None or refusal.reason.endswith(".")


WHOLE = {**golden.images(), **{name: bundled(name) for name in [*COMPRESSED.values(), "JPEG2000.dcm"]}}


@pytest.mark.filterwarnings("ignore")  # of Pillow and pydicom, about the damage
@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), cut=st.booleans())
def test_damaged_files_are_decoded_or_raise_an_image_error(name: str, seed: int, cut: bool) -> None:
    rng = random.Random(seed)
    content = bytearray(WHOLE[name])
    for _ in range(rng.choice([1, 3, 10])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    if cut:
        del content[rng.randrange(len(content)) :][: rng.randrange(1, 200)]
    try:
        intake = take_in(bytes(content), SIZE, LIMITS)
    except ImageError:
        return
    assert intake.square.shape == (SIZE, SIZE)
    assert max(intake.pixels.shape) <= DISPLAY_SIDE
    refuse(intake)


def test_a_dicom_without_pixels_is_refused() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(PICTURE)))
    del dataset.PixelData
    file = io.BytesIO()
    dataset.save_as(file)

    with pytest.raises(ImageError, match=r"no readable pixels|cannot be decoded"):
        take_in(file.getvalue(), SIZE, LIMITS)
