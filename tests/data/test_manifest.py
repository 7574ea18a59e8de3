import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from pneumonia.data import manifest
from pneumonia.errors import ValidationError

FACTS = Path(__file__).parents[2] / "data" / "kermany-files.csv"


def picture(width: int = 40, height: int = 30, mode: str = "L") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, image_format: str = "JPEG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def dicom(width: int = 40, height: int = 30) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = height, width
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes(width * height)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


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


def test_a_readable_image_is_described_in_full(raw: Path) -> None:
    content = encoded(picture(40, 30, "RGB"), quality=83)
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


def test_rows_are_sorted_by_path_and_typed_even_when_nothing_is_readable(raw: Path) -> None:
    put(raw, "train/NORMAL/b.jpeg", b"")
    put(raw, "test/NORMAL/a.jpeg", b"")

    rows = manifest.build(raw, workers=2)

    assert list(rows["path"]) == ["test/NORMAL/a.jpeg", "train/NORMAL/b.jpeg"]
    assert {name: str(dtype) for name, dtype in rows.dtypes.items()} == manifest.DTYPES
    assert rows["width"].isna().all()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_a_file_cut_in_the_middle_is_a_problem(raw: Path, image_format: str) -> None:
    content = encoded(picture(200, 200), image_format)
    put(raw, f"train/NORMAL/a.{image_format.lower()}", content[: len(content) // 2])

    assert "truncated" in only(raw)["problem"]


def test_a_dicom_cut_in_the_middle_is_a_problem(raw: Path) -> None:
    put(raw, "train/NORMAL/a.dcm", dicom()[:-500])

    assert only(raw)["problem"].startswith("DICOM that cannot be decoded")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jpeg", b"", "empty file"),
        ("a.jpeg", b"just some text", "not an image: the bytes are not JPEG, PNG or DICOM"),
        ("a.jpeg", encoded(picture(), "PNG"), "PNG content in a file named .jpeg: rename it to .png"),
        ("a.png", encoded(picture()), "JPEG content in a file named .png: rename it to .jpg"),
        ("a.JPG", encoded(picture()), ""),
        ("a.png", encoded(picture(), "PNG"), ""),
        ("a.dcm", dicom(), ""),
        ("a", dicom(), ""),
    ],
)
def test_bytes_and_names_are_held_against_each_other(raw: Path, name: str, content: bytes, problem: str) -> None:
    put(raw, f"train/NORMAL/{name}", content)

    assert only(raw)["problem"] == problem


def test_a_dicom_is_described_by_its_pixels(raw: Path) -> None:
    put(raw, "train/NORMAL/a.dcm", dicom(40, 30))

    row = only(raw)

    assert (row["format"], row["width"], row["height"], row["mode"]) == ("DICOM", 40, 30, "MONOCHROME2")
    assert np.isnan(row["jpeg_quality"])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as outside of the tests
@pytest.mark.parametrize("limit", [700, 1000], ids=["error", "warning"])
def test_a_decompression_bomb_is_a_problem_and_no_crash(
    raw: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # Pillow warns above it and raises above twice as much
    put(raw, "train/NORMAL/a.png", encoded(picture(50, 30), "PNG"))

    assert "decompression bomb" in only(raw)["problem"]


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 96, 100])
def test_jpeg_quality_is_the_one_the_file_was_written_with(raw: Path, quality: int) -> None:
    put(raw, "train/NORMAL/a.jpeg", encoded(picture(), quality=quality))

    assert only(raw)["jpeg_quality"] == quality


@pytest.mark.parametrize("listed", ["train/NORMAL/scan1.jpeg", "NORMAL/scan1.jpeg", "scan1.jpeg"])
def test_patients_come_from_the_users_table(raw: Path, listed: str) -> None:
    put(raw, "train/NORMAL/scan1.jpeg", encoded(picture()))
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
def test_an_incomplete_table_of_patients_is_refused(raw: Path, table: str, message: str) -> None:
    put(raw, "train/NORMAL/scan1.jpeg", encoded(picture()))
    put(raw, "patients.csv", table.encode())

    with pytest.raises(ValidationError, match=message):
        manifest.build(raw, workers=1)


def test_no_files_at_all_is_refused(raw: Path) -> None:
    with pytest.raises(ValidationError, match="found none"):
        manifest.build(raw, workers=1)


@pytest.mark.real
def test_facts_of_real_originals_agree_with_the_definition(mirror: Path) -> None:
    facts = pd.read_csv(FACTS).rename(columns={"class": "label"})
    facts["path"] = facts["split"] + "/" + facts["label"] + "/" + facts["filename"]

    rows = manifest.build(mirror / "originals", workers=2).merge(facts, on="path", suffixes=("", "_stated"))

    assert len(rows) == 40
    assert (rows["problem"] == "").all()
    for fact in ("bytes", "width", "height", "mode"):
        assert (rows[fact] == rows[f"{fact}_stated"]).all(), fact
    assert (rows["jpeg_quality"] - rows["jpeg_quality_stated"]).abs().max() <= 2


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
