"""Image files for tests: encoded pictures, small DICOM files, and files that declare what they do not hold."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEG2000Lossless


def slope(height: int, width: int) -> NDArray[np.uint8]:
    """A picture that shows every flip, rotation and inversion: brighter to the right, and slightly to the bottom."""
    y, x = np.mgrid[0:height, 0:width]
    return (10 + 150 * x / (width - 1) + 80 * y / (height - 1)).round().astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


def dicom(pixels: NDArray[Any], **attributes: Any) -> bytes:
    """A small digital X-ray; ``attributes`` are DICOM keywords that add to the usual ones or replace them."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    bits = pixels.dtype.itemsize * 8
    usual = {
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    for keyword, value in (usual | attributes).items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def multi_frame_dicom(frames: int = 2) -> bytes:
    """A DICOM file of several grey frames of 120 x 90 pixels."""
    pixels = np.stack([slope(90, 120)] * frames).reshape(90 * frames, 120)
    return dicom(pixels, Rows=90, NumberOfFrames=str(frames))


def deflated_dicom() -> bytes:
    """A DICOM file in the transfer syntax Deflated Explicit VR Little Endian (pydicom's own test file)."""
    return Path(str(get_testdata_file("image_dfl.dcm", download=False))).read_bytes()


def dicom_of_a_larger_picture() -> bytes:
    """A header of 120 x 90 pixels around a JPEG 2000 picture of 2000 x 2000."""
    picture = encoded(Image.new("L", (2000, 2000)), "JPEG2000", no_jp2=True)
    dataset = pydicom.dcmread(io.BytesIO(dicom(slope(90, 120))))
    dataset.PixelData = encapsulate([picture])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG file of a hundred bytes whose header declares another size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )
