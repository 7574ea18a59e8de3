"""The manifest: one row of facts for every file of the raw images, readable or not."""

import hashlib
import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
from PIL import Image
from rich.progress import track

from pneumonia.data import naming
from pneumonia.errors import ValidationError

DTYPES = {
    "path": "str",
    "sha256": "str",
    "bytes": "int64",
    "format": "str",
    "width": "Int64",
    "height": "Int64",
    "mode": "str",
    "jpeg_quality": "float64",
    "release_split": "str",
    "label": "str",
    "cause": "str",
    "patient": "str",
    "problem": "str",
}
"""Columns of the manifest in their order; ``width`` and ``height`` are missing where a file cannot be read."""

SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".dcm": "DICOM", ".dicom": "DICOM"}
"""What a file name promises about its bytes; other names promise nothing."""

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


def build(raw: Path, workers: int) -> pd.DataFrame:
    """Read, hash and fully decode every file of ``raw/<release split>/<label>/``.

    A file that cannot be used is a row too, with the reason in ``problem`` (empty where all is well). At most
    ``workers`` files are held in memory at once. Patients come from ``raw/patients.csv`` (columns ``file`` and
    ``patient``) where it exists, else from the file names.

    Returns:
        One row per file, sorted by path, with the columns of ``DTYPES``. ``path`` is relative to ``raw`` with
        forward slashes, ``bytes`` the file size, ``width`` and ``height`` are in pixels, ``mode`` is Pillow's
        (or DICOM's photometric interpretation), ``jpeg_quality`` is 1 to 100 or NaN.

    Raises:
        ValidationError: there is no file at all, or patients.csv does not name the patient of every file.
    """
    files = sorted((file for file in raw.glob("*/*/*") if file.is_file()), key=lambda file: file.as_posix())
    if not files:
        raise ValidationError(
            f"Expected images in {raw}/<train, val or test>/<NORMAL or PNEUMONIA>/, found none. "
            "Run the download stage again."
        )
    # Pillow warns above one size and raises above twice that; both are a problem of the file.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        rows = list(track(pool.map(lambda file: _facts(file, raw), files), "Checking images", total=len(files)))
    manifest = pd.DataFrame(rows, columns=list(DTYPES)).astype(DTYPES)
    patients = raw / "patients.csv"
    return _with_patients(manifest, patients) if patients.exists() else manifest


def jpeg_quality(table: np.ndarray) -> int:
    """Estimate the IJG quality setting (1 to 100) from an 8 x 8 luminance quantisation table in natural order.

    The answer is the setting whose standard table is as coarse (closest sum of entries): exact for files written by
    libjpeg, the nearest equivalent for the tables of other encoders. Source of the scaling: ``jpeg_quality_scaling``
    and ``jpeg_add_quant_table`` in the Independent JPEG Group's libjpeg, jcparam.c.
    """
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    standard = np.clip((LUMINANCE_TABLE.reshape(1, 64) * percent[:, None] + 50) // 100, 1, 255)
    return int(quality[np.abs(standard.sum(axis=1) - table.sum()).argmin()])


def _facts(file: Path, raw: Path) -> dict[str, Any]:
    content = file.read_bytes()
    release_split, label, filename = file.relative_to(raw).parts
    name = naming.parse(filename, label)
    return {
        "path": file.relative_to(raw).as_posix(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "release_split": release_split,
        "label": label,
        "cause": name.cause,
        "patient": name.patient or f"file-{release_split}/{label}/{filename}",  # a patient of its own
        **_image_facts(content, file),
    }


def _image_facts(content: bytes, file: Path) -> dict[str, Any]:
    found = _format(content)
    facts: dict[str, Any] = {"format": found, "mode": "", "problem": ""}
    if not content:
        return facts | {"problem": "empty file"}
    if not found:
        return facts | {"problem": "not an image: the bytes are not JPEG, PNG or DICOM"}
    try:
        facts |= _decode_dicom(content) if found == "DICOM" else _decode(content, found)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return facts | {"problem": f"{found} of more than {Image.MAX_IMAGE_PIXELS} pixels: a decompression bomb?"}
    except Exception as error:  # whatever a decoder throws at broken bytes is a fact about the file
        return facts | {"problem": f"{found} that cannot be decoded (truncated or damaged): {error}"}
    promised = SUFFIXES.get(file.suffix.lower(), found)
    if promised != found:
        suffix = next(suffix for suffix, format_ in SUFFIXES.items() if format_ == found)
        facts["problem"] = f"{found} content in a file named {file.suffix}: rename it to {suffix}"
    return facts


def _format(content: bytes) -> str:
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    return "DICOM" if content[128:132] == b"DICM" else ""


def _decode(content: bytes, image_format: str) -> dict[str, Any]:
    with Image.open(io.BytesIO(content), formats=[image_format]) as image:
        image.load()  # the whole of it: a truncated file opens without complaint
        facts = {"width": image.width, "height": image.height, "mode": image.mode}
        if image_format == "JPEG":
            facts["jpeg_quality"] = jpeg_quality(np.array(image.quantization[0]))  # type: ignore[attr-defined]
        return facts


def _decode_dicom(content: bytes) -> dict[str, Any]:
    dataset = pydicom.dcmread(io.BytesIO(content))
    _ = dataset.pixel_array  # decodes, and raises when pixels are missing
    return {"width": dataset.Columns, "height": dataset.Rows, "mode": str(dataset.PhotometricInterpretation)}


def _with_patients(manifest: pd.DataFrame, table: Path) -> pd.DataFrame:
    content = pd.read_csv(table, dtype="str")
    if not {"file", "patient"} <= set(content.columns):
        raise ValidationError(
            f"Expected the columns file and patient in {table}, found {', '.join(content.columns)}. "
            "Name them in its first line."
        )
    listed = content.dropna().drop_duplicates("file").set_index("file")["patient"]
    # A user's table names files as the own folder does: with split and class, with the class alone, or bare.
    path = manifest["path"]
    patient = path.map(listed)
    for folders in (1, 2):
        patient = patient.fillna(path.str.split("/", n=folders).str[-1].map(listed))
    if patient.isna().any():
        raise ValidationError(
            f"Expected a patient for every image in {table}, but {patient.isna().sum()} image(s) have none, "
            f"for example {path[patient.isna()].iloc[0]}. Add them, or remove the table to go by the file names."
        )
    return manifest.assign(patient=patient.astype("str"))
