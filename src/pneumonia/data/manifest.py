"""The manifest: one row of metadata for every file of the raw dataset, readable or not."""

import hashlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from rich.progress import track

from pneumonia.core.errors import ImageError, ValidationError
from pneumonia.data import naming
from pneumonia.images.formats import SUFFIXES, format_of
from pneumonia.images.metadata import read_metadata

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


def build(raw: Path, workers: int) -> pd.DataFrame:
    """Read, hash and decode every file of ``raw/<release split>/<label>/``.

    Files are decoded by `images.decode`, as the image store is, so that no accepted file fails there. A file that
    cannot be used gets a row too, with the reason in ``problem`` (empty for usable files). Patients come from
    ``raw/patients.csv`` (columns ``file`` and ``patient``) where it exists, else from the file names.

    Args:
        raw: dataset folder as the download stage writes it.
        workers: threads; at most this many files are in memory at once.

    Returns:
        One row per file, sorted by path, with the columns of `DTYPES`. ``path`` is relative to ``raw`` with forward
        slashes, ``bytes`` the file size, ``width`` and ``height`` are in pixels, ``mode`` is Pillow's (or DICOM's
        photometric interpretation), ``jpeg_quality`` is 1 to 100, NaN for other formats.

    Raises:
        ValidationError: there is no file, or patients.csv lacks the patient of a file.
    """
    files = sorted((file for file in raw.glob("*/*/*") if file.is_file()), key=lambda file: file.as_posix())
    if not files:
        raise ValidationError(
            f"Expected images in {raw}/<train, val or test>/<NORMAL or PNEUMONIA>/, found none. "
            "Run the download stage again."
        )
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such files are refused with a reason
        rows = list(track(pool.map(lambda file: _row(file, raw), files), "Checking images", total=len(files)))
    manifest = pd.DataFrame(rows, columns=list(DTYPES)).astype(DTYPES)
    patients = raw / "patients.csv"
    return _with_patients(manifest, patients) if patients.exists() else manifest


def _row(file: Path, raw: Path) -> dict[str, Any]:
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
        **_image_columns(content, file.suffix),
    }


def _image_columns(content: bytes, suffix: str) -> dict[str, Any]:
    """Return the columns that come from decoding the file."""
    columns: dict[str, Any] = {"format": format_of(content), "mode": "", "problem": ""}
    try:
        metadata = read_metadata(content)
    except ImageError as error:
        return columns | {"problem": str(error)}
    columns |= vars(metadata)
    announced = SUFFIXES.get(suffix.lower(), metadata.format)
    if announced != metadata.format:
        expected = next(suffix for suffix, image_format in SUFFIXES.items() if image_format == metadata.format)
        columns["problem"] = f"{metadata.format} content in a file named {suffix}: rename it to {expected}"
    return columns


def _with_patients(manifest: pd.DataFrame, table: Path) -> pd.DataFrame:
    content = pd.read_csv(table, dtype="str")
    if not {"file", "patient"} <= set(content.columns):
        raise ValidationError(
            f"Expected the columns file and patient in {table}, found {', '.join(content.columns)}. "
            "Name them in its first line."
        )
    listed = content.dropna().drop_duplicates("file").set_index("file")["patient"]
    # A user's table may name files with split and class, with the class alone, or without folders.
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
