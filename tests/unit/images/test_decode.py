import contextlib
import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from pneumonia.core.errors import ImageError
from pneumonia.images.decode import decode
from tests.support.images import deflated_dicom, dicom, encoded, multi_frame_dicom, png_that_claims, slope

SIZE = 32


PICTURE = slope(90, 120)


@pytest.mark.filterwarnings("ignore")  # warnings of Pillow about the damage
def test_damaged_exif_data_is_ignored() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "maker"
    content = encoded(Image.fromarray(PICTURE), "JPEG", exif=exif)
    entries = content.index(b"Exif") + 16  # 12 bytes each: tag, type, count and value
    for position in range(entries, entries + 24):
        for value in (0, 3, 9, 255):
            damaged = bytearray(content)
            damaged[position] = value

            assert decode(bytes(damaged), SIZE).shape == (SIZE, SIZE)


def expected(picture: NDArray[np.uint8], size: int = SIZE) -> NDArray[np.int_]:
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)).astype(int)


def palette_image() -> Image.Image:
    """A palette in reverse order of brightness: indices taken for grey levels would give a negative."""
    image = Image.fromarray(255 - PICTURE).convert("P")
    image.putpalette([level for number in range(256) for level in (255 - number,) * 3])
    return image


def translucent(image: Image.Image) -> Image.Image:
    image.putalpha(128)
    return image


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encoded(Image.fromarray(PICTURE), form, exif=exif)
    with Image.open(io.BytesIO(content)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))

    assert np.abs(decode(content, SIZE) - expected(upright)).max() <= 3


TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}


def stretched(picture: NDArray[np.uint8]) -> NDArray[np.int_]:
    """The picture stretched from 0 to 255, as DICOM levels are."""
    low, high = picture.min(), picture.max()
    return expected(((picture.astype(float) - low) / (high - low) * 255).round().astype(np.uint8))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encoded(Image.fromarray(PICTURE), "JPEG", quality=95), id="grey JPEG"),
        pytest.param(encoded(Image.fromarray(PICTURE), "JPEG", quality=95, progressive=True), id="progressive JPEG"),
        pytest.param(encoded(Image.fromarray(PICTURE).convert("RGB"), "JPEG", quality=95), id="RGB JPEG"),
        pytest.param(encoded(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=95), id="CMYK JPEG"),
        pytest.param(encoded(Image.fromarray(PICTURE), "PNG"), id="grey PNG"),
        pytest.param(encoded(Image.fromarray(PICTURE).convert("RGB"), "PNG"), id="RGB PNG"),
        pytest.param(encoded(translucent(Image.fromarray(PICTURE)), "PNG"), id="PNG with alpha"),
        pytest.param(encoded(palette_image(), "PNG"), id="palette PNG"),
        pytest.param(encoded(Image.fromarray(PICTURE.astype(np.uint16) * 257), "PNG"), id="16-bit PNG"),
        pytest.param(encoded(Image.fromarray(PICTURE.astype(np.uint16) * 16), "PNG"), id="12 bits in a 16-bit PNG"),
        pytest.param(encoded(Image.fromarray(PICTURE.astype(np.uint16)), "PNG"), id="8 bits in a 16-bit PNG"),
    ],
)
def test_colour_modes_and_bit_depths_give_the_same_grey_levels(content: bytes) -> None:
    pixels = decode(content, SIZE)

    assert pixels.shape == (SIZE, SIZE)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels - expected(PICTURE)).max() <= 3


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(dicom(PICTURE), id="8 bits"),
        pytest.param(dicom(PICTURE.astype(np.uint16) * 16, **TWELVE_BITS), id="12 bits in 16"),
        pytest.param(dicom(PICTURE.astype(np.int16) * 8 - 1000), id="signed"),
        pytest.param(dicom(255 - PICTURE, PhotometricInterpretation="MONOCHROME1"), id="MONOCHROME1"),
        pytest.param(
            dicom(4095 - PICTURE.astype(np.uint16) * 16, **TWELVE_BITS, RescaleSlope="-1", RescaleIntercept="4095"),
            id="negative rescale slope",
        ),
        pytest.param(
            dicom(
                4095 - PICTURE.astype(np.uint16) * 16,
                **TWELVE_BITS,
                PhotometricInterpretation="MONOCHROME1",
                WindowCenter="2048",
                WindowWidth="8192",
            ),
            id="MONOCHROME1 with a window",
        ),
    ],
)
def test_dicom_has_bright_bone_and_the_full_range(content: bytes) -> None:
    pixels = decode(content, SIZE)

    assert pixels.shape == (SIZE, SIZE)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels - stretched(PICTURE)).max() <= 2


def test_the_dicom_window_is_applied() -> None:
    levels = PICTURE.astype(np.uint16) * 16
    window = {"WindowCenter": str(levels.mean().round()), "WindowWidth": "200"}

    pixels = decode(dicom(levels, **TWELVE_BITS, **window), SIZE)

    assert (pixels == 0).mean() > 0.3
    assert (pixels == 255).mean() > 0.3
    assert pixels[:, 0].max() == 0
    assert pixels[:, -1].min() == 255


def test_decoding_a_blank_dicom_does_not_divide_by_zero() -> None:
    assert decode(dicom(np.full((40, 40), 7, np.uint8)), SIZE).shape == (SIZE, SIZE)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_reduced_jpeg_decoding_is_close_to_full_decoding(mode: str) -> None:
    y, x = np.mgrid[0:1400, 0:1800]
    smooth = (128 + 60 * np.sin(x / 190) + 60 * np.cos(y / 130)).astype(np.uint8)
    content = encoded(Image.fromarray(smooth).convert(mode), "JPEG", quality=90)
    with Image.open(io.BytesIO(content)) as image:
        full = np.asarray(image.convert("L").resize((128, 128), Image.Resampling.BILINEAR)).astype(int)

    difference = np.abs(decode(content, 128) - full)

    assert difference.mean() < 1
    assert difference.max() <= 4


def test_small_images_are_enlarged() -> None:
    pixels = decode(encoded(Image.fromarray(slope(20, 20)), "PNG"), 64)

    assert np.abs(pixels - expected(slope(20, 20), 64)).max() <= 1


def in_the_middle(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", r"empty \(0 bytes\)", id="empty"),
        pytest.param(in_the_middle(encoded(Image.fromarray(PICTURE), "JPEG")), "truncated", id="truncated JPEG"),
        pytest.param(in_the_middle(encoded(Image.fromarray(PICTURE), "PNG")), "truncated", id="truncated PNG"),
        pytest.param(in_the_middle(dicom(PICTURE)), "DICOM file cannot be decoded", id="truncated DICOM"),
        pytest.param(b"name,label\na.jpeg,NORMAL\n" * 20, "expected a JPEG, PNG or DICOM", id="text"),
        pytest.param(encoded(Image.fromarray(PICTURE), "GIF"), "expected a JPEG, PNG or DICOM", id="GIF"),
        pytest.param(png_that_claims(60_000, 60_000), "too large", id="bomb"),
        pytest.param(dicom(PICTURE, WindowCenter="100", WindowWidth="0"), "DICOM file", id="DICOM window of no width"),
        pytest.param(
            dicom(np.dstack([PICTURE] * 3), SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0),
            r"one grey DICOM frame.*\(90, 120, 3\)",
            id="colour DICOM",
        ),
        pytest.param(multi_frame_dicom(2), r"one grey DICOM frame.*\(2, 90, 120\)", id="multi-frame DICOM"),
        pytest.param(deflated_dicom(), "deflated", id="deflated DICOM"),
    ],
)
def test_files_that_are_not_one_grey_image_are_rejected(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode(content, SIZE)


def test_images_above_pillows_pixel_limit_are_rejected() -> None:
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ImageError, match="10000 x 10000"):
        decode(png_that_claims(10_000, 10_000), SIZE)


@pytest.mark.filterwarnings("ignore")  # warnings of Pillow and pydicom about the damage
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encoded(Image.fromarray(PICTURE), "JPEG"), id="JPEG"),
        pytest.param(encoded(palette_image(), "PNG"), id="PNG"),
        pytest.param(
            dicom(
                PICTURE.astype(np.uint16), WindowCenter="9", WindowWidth="9", RescaleSlope="2", RescaleIntercept="0"
            ),
            id="DICOM",
        ),
    ],
)
def test_damaged_bytes_give_pixels_or_an_image_error(content: bytes) -> None:
    rng = random.Random(0)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.randrange(min(len(damaged), 900))] = rng.randrange(256)
        with contextlib.suppress(ImageError):
            assert decode(bytes(damaged), SIZE).shape == (SIZE, SIZE)


@pytest.mark.real
def test_originals_agree_with_the_published_224_pixel_copy(mirror: Path) -> None:
    originals = sorted((mirror / "originals").rglob("*.jpeg"))
    with zipfile.ZipFile(mirror / "kermany-224.zip") as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        differences = [
            np.abs(
                decode(original.read_bytes(), 224).astype(int) - decode(archive.read(names[original.name]), 224)
            ).mean()
            for original in originals
        ]

    assert len(differences) >= 40
    assert np.mean(differences) < 3
    assert np.max(differences) < 6
