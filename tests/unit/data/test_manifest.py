import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumonia.core.errors import ImageError, ValidationError
from pneumonia.data import manifest
from pneumonia.images.decode import decode
from tests.support.images import deflated_dicom, encoded, multi_frame_dicom
from tests.support.images import dicom as dicom_of

PUBLISHED_FILES = Path(__file__).parents[3] / "data" / "kermany-files.csv"


def dicom(width: int = 40, height: int = 30) -> bytes:
    return dicom_of(np.zeros((height, width), np.uint8))


def picture(width: int = 40, height: int = 30, mode: str = "L") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def put(raw: Path, path: str, content: bytes) -> None:
    file = raw / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def only(raw: Path) -> pd.Series:
    rows = manifest.build(raw, workers=2)
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_readable_image_has_all_columns(raw: Path) -> None:
    content = encoded(picture(40, 30, "RGB"), "JPEG", quality=83)
    put(raw, "train/PNEUMONIA/person12_bacteria_46.jpeg", content)

    row = only(raw)

    assert row.to_dict() == {
        "path": "train/PNEUMONIA/person12_bacteria_46.jpeg",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "format": "JPEG",
        "width": 40,
        "height": 30,
        "mode": "RGB",
        "jpeg_quality": 83,
        "release_split": "train",
        "label": "PNEUMONIA",
        "cause": "bacteria",
        "patient": "bacteria-12",
        "problem": "",
    }


def test_rows_are_sorted_by_path_and_typed_even_when_no_file_is_readable(raw: Path) -> None:
    put(raw, "train/NORMAL/b.jpeg", b"")
    put(raw, "test/NORMAL/a.jpeg", b"")

    rows = manifest.build(raw, workers=2)

    assert list(rows["path"]) == ["test/NORMAL/a.jpeg", "train/NORMAL/b.jpeg"]
    assert {name: str(dtype) for name, dtype in rows.dtypes.items()} == manifest.DTYPES
    assert rows["width"].isna().all()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_a_truncated_file_is_a_problem(raw: Path, image_format: str) -> None:
    content = encoded(picture(200, 200), image_format)
    put(raw, f"train/NORMAL/a.{image_format.lower()}", content[: len(content) // 2])

    assert "truncated" in only(raw)["problem"]


def test_a_truncated_dicom_is_a_problem(raw: Path) -> None:
    put(raw, "train/NORMAL/a.dcm", dicom()[:-500])

    assert only(raw)["problem"].startswith("the DICOM file cannot be decoded")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(deflated_dicom(), "deflated", id="deflated"),
        pytest.param(multi_frame_dicom(), "one grey DICOM frame", id="multi-frame"),
        pytest.param(
            dicom_of(
                np.zeros((30, 40, 3), np.uint8),
                SamplesPerPixel=3,
                PhotometricInterpretation="RGB",
                PlanarConfiguration=0,
            ),
            "one grey DICOM frame",
            id="colour",
        ),
        pytest.param(dicom_of(np.zeros((30, 40), np.uint8), WindowCenter="9", WindowWidth="0"), "DICOM", id="window"),
    ],
)
def test_dicom_files_that_prepare_cannot_decode_are_quarantined(raw: Path, content: bytes, problem: str) -> None:
    put(raw, "train/NORMAL/a.dcm", content)

    assert problem in only(raw)["problem"]
    with pytest.raises(ImageError):
        decode(content, 32)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jpeg", b"", "the file is empty (0 bytes). Fetch it again."),
        (
            "a.jpeg",
            b"just some text",
            "expected a JPEG, PNG or DICOM image, but the bytes are none of these. "
            "Export the radiograph as one of them.",
        ),
        ("a.jpeg", encoded(picture(), "PNG"), "PNG content in a file named .jpeg: rename it to .png"),
        ("a.png", encoded(picture(), "JPEG"), "JPEG content in a file named .png: rename it to .jpg"),
        ("a.JPG", encoded(picture(), "JPEG"), ""),
        ("a.png", encoded(picture(), "PNG"), ""),
        ("a.dcm", dicom(), ""),
        ("a", dicom(), ""),
        ("a.dicom", dicom(), ""),
        ("1.2.840.10008", dicom(), ""),
    ],
)
def test_content_and_suffix_must_agree(raw: Path, name: str, content: bytes, problem: str) -> None:
    put(raw, f"train/NORMAL/{name}", content)

    assert only(raw)["problem"] == problem


def test_a_dicom_has_the_size_of_its_frame(raw: Path) -> None:
    put(raw, "train/NORMAL/a.dcm", dicom(40, 30))

    row = only(raw)

    assert (row["format"], row["width"], row["height"], row["mode"]) == ("DICOM", 40, 30, "MONOCHROME2")
    assert np.isnan(row["jpeg_quality"])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [700, 1000], ids=["error", "warning"])
def test_a_decompression_bomb_is_a_problem(raw: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # Pillow warns above it and raises above twice as much
    put(raw, "train/NORMAL/a.png", encoded(picture(50, 30), "PNG"))

    assert "decompression bomb" in only(raw)["problem"]


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 96, 100])
def test_jpeg_quality_is_estimated_exactly_for_libjpeg(raw: Path, quality: int) -> None:
    put(raw, "train/NORMAL/a.jpeg", encoded(picture(), "JPEG", quality=quality))

    assert only(raw)["jpeg_quality"] == quality


@pytest.mark.parametrize("listed", ["train/NORMAL/scan1.jpeg", "NORMAL/scan1.jpeg", "scan1.jpeg"])
def test_patients_come_from_the_users_table(raw: Path, listed: str) -> None:
    put(raw, "train/NORMAL/scan1.jpeg", encoded(picture(), "JPEG"))
    put(raw, "patients.csv", f"file,patient\n{listed},0042\n".encode())

    assert only(raw)["patient"] == "0042"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,patient\nother.jpeg,1\n", r"have none, for example train/NORMAL/scan1\.jpeg"),
        ("file,patient\nscan1.jpeg,\n", "have none"),
        ("name,id\nscan1.jpeg,1\n", "found name, id"),
    ],
)
def test_an_incomplete_patients_table_is_rejected(raw: Path, table: str, message: str) -> None:
    put(raw, "train/NORMAL/scan1.jpeg", encoded(picture(), "JPEG"))
    put(raw, "patients.csv", table.encode())

    with pytest.raises(ValidationError, match=message):
        manifest.build(raw, workers=1)


def test_a_dataset_without_files_is_rejected(raw: Path) -> None:
    with pytest.raises(ValidationError, match="found none"):
        manifest.build(raw, workers=1)


@pytest.mark.real
def test_metadata_of_real_originals_agrees_with_the_definition(mirror: Path) -> None:
    published = pd.read_csv(PUBLISHED_FILES).rename(columns={"class": "label"})
    published["path"] = published["split"] + "/" + published["label"] + "/" + published["filename"]

    rows = manifest.build(mirror / "originals", workers=2).merge(published, on="path", suffixes=("", "_published"))

    assert len(rows) == 40
    assert (rows["problem"] == "").all()
    for column in ("bytes", "width", "height", "mode"):
        assert (rows[column] == rows[f"{column}_published"]).all(), column
    assert (rows["jpeg_quality"] - rows["jpeg_quality_published"]).abs().max() <= 2


@pytest.mark.real
def test_the_real_set_has_its_known_duplicates_and_patients(mirror: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(mirror / "kermany-224.zip") as archive:
        archive.extractall(tmp_path)

    rows = manifest.build(tmp_path / "chest_xray", workers=2)

    assert len(rows) == 5840
    assert (rows["problem"] == "").all()
    copies = rows.groupby("sha256").size()
    assert (copies > 1).sum() == 30
    assert copies[copies > 1].sum() == 62
    sides = rows["release_split"].eq("test").groupby(rows["patient"]).nunique()
    assert (sides == 1).all()
    assert rows["patient"].nunique() == 4097 - 15  # the 16 images that are not in this release
