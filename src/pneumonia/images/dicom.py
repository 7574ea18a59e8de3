"""DICOM files: their parsed header, and their one grey frame.

pydicom quotes values in warnings and errors, and values can be names of patients: its messages are never passed on.
"""

import io
import logging
from typing import Any

import numpy as np
from PIL import Image

from pneumonia.core.errors import ImageError

DEFLATED = b"1.2.840.10008.1.2.1.99"
GREY_INTERPRETATIONS = ("MONOCHROME1", "MONOCHROME2")

DECODERS = {
    "1.2.840.10008.1.2": None,  # uncompressed
    "1.2.840.10008.1.2.1": None,
    "1.2.840.10008.1.2.2": None,
    "1.2.840.10008.1.2.5": "pydicom",  # run lengths
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG
    "1.2.840.10008.1.2.4.57": "gdcm",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "gdcm",
    "1.2.840.10008.1.2.4.80": "gdcm",  # JPEG-LS
    "1.2.840.10008.1.2.4.81": "gdcm",
    "1.2.840.10008.1.2.4.90": "pillow",  # JPEG 2000
    "1.2.840.10008.1.2.4.91": "pillow",
}
"""Decoder plugin of pydicom for each transfer syntax; None where pixels are not compressed.

GDCM decodes nearly all of them, but ends the process on damaged JPEG 2000.
"""


def read(content: bytes) -> Any:
    """Parse a DICOM file into a pydicom Dataset; its pixels stay encoded.

    Raises:
        ImageError: the file cannot be parsed, or is deflated: pydicom would inflate it without a limit.
    """
    import pydicom

    if DEFLATED in content:
        raise ImageError("deflated DICOM files are not supported. Export it uncompressed.")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        return pydicom.dcmread(io.BytesIO(content))
    except Exception as error:  # pydicom raises many unrelated types for damaged files
        raise _undecodable(error) from None


def text(dataset: Any, keyword: str) -> str:
    """Return a value of a Dataset as text; empty where it is missing or cannot be converted."""
    try:
        return str(dataset.get(keyword) or "").strip()
    except Exception:  # pydicom converts a value when it is first read, and raises many unrelated types
        return ""


def grey(dataset: Any) -> Image.Image:
    """Return the frame of a Dataset in 8 bits: bone bright, its window applied, stretched to the full range.

    Raises:
        ImageError: the pixels cannot be decoded, or are not one grey frame.
    """
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    decoder = DECODERS[syntax(dataset)]
    try:
        if decoder:
            dataset.pixel_array_options(decoding_plugin=decoder)
        levels = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    except Exception as error:  # as above
        raise _undecodable(error) from None
    interpretation = dataset.get("PhotometricInterpretation")
    if levels.ndim != 2 or interpretation not in GREY_INTERPRETATIONS:
        raise ImageError(
            f"expected one grey DICOM frame ({' or '.join(GREY_INTERPRETATIONS)}), but the pixels have shape "
            f"{levels.shape} or are in colour. Export the radiograph itself as a single grey image."
        )
    low, high = float(levels.min()), float(levels.max())
    stretched = (levels - low) / (high - low or 1.0) * 255.0
    if interpretation == "MONOCHROME1":
        stretched = 255.0 - stretched
    return Image.fromarray(stretched.round().astype(np.uint8))


def syntax(dataset: Any) -> str:
    """Return the UID of the transfer syntax, one of `DECODERS`.

    Raises:
        ImageError: the transfer syntax is missing or not supported.
    """
    uid = text(getattr(dataset, "file_meta", {}), "TransferSyntaxUID")
    if uid not in DECODERS:
        raise ImageError("the transfer syntax of the DICOM file is not supported. Export it uncompressed.")
    return uid


def _undecodable(error: Exception) -> ImageError:
    return ImageError(
        f"the DICOM file cannot be decoded ({type(error).__name__}). It may be truncated or in an unusual transfer "
        "syntax: fetch it again, or export it uncompressed."
    )
