"""Validate and decode untrusted image files, and refuse images outside the intended use.

A file is decoded only after its header has been checked (`images.container`), and by `images.decode`, the only
preprocessing of the model's input.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.core.errors import ImageError
from pneumonia.images import container, dicom
from pneumonia.images.decode import decode, open_grey

DISPLAY_SIDE = 2048
"""Longest side, in pixels, of an image for display; larger ones are scaled down."""

MINIMUM_SIDE = 100
"""Pixels; in smaller images ribs and vessels cannot be distinguished. The smallest of the Kermany set has 127."""
MINIMUM_CONTRAST = 12
"""Grey levels between the 5% and the 95% quantile; an image with less counts as blank."""
UNREADABLE = "unreadable"
"""Refusal code for a file that `take_in` cannot decode."""
ADULT = 18.0
"""Age in years from which a patient is refused."""
RADIOGRAPHY = frozenset({"CR", "DX", "DR", "RF", "RG", "XA", "OT", "SC"})
"""DICOM modalities (PS3.3, C.7.3.1.1.1) that may hold a radiograph; OT and SC are scans and screenshots."""
FRONTAL = frozenset({"AP", "PA"})
CHEST = ("CHEST", "THORAX", "LUNG", "TORAX")
CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True)
class Limits:
    """Largest files that are decoded.

    Attributes:
        bytes: of the file.
        pixels: width times height of the image.
    """

    bytes: int
    pixels: int


@dataclass(frozen=True, eq=False)
class Intake:
    """A decoded image with its header metadata. DICOM attributes are None if absent, and for other formats.

    Attributes:
        content: the encoded file.
        square: the model's input (`images.decode.decode`), shape (size, size).
        format: JPEG, PNG or DICOM.
        width: of the stored image, in pixels.
        height: of the stored image, in pixels.
        modality: DICOM modality, such as CR or DX.
        view: DICOM view position, such as AP, PA or LL.
        age_years: age of the patient.
        body_part: DICOM body part examined, in capitals.
        interpretation: DICOM photometric interpretation.
        maker: DICOM manufacturer of the device.
        patient_identifier: DICOM patient ID with its issuer. It identifies a person: use it for a keyed hash only.
    """

    content: bytes = field(repr=False)
    square: NDArray[np.uint8] = field(repr=False)
    format: str
    width: int
    height: int
    modality: str | None = None
    view: str | None = None
    age_years: float | None = None
    body_part: str | None = None
    interpretation: str | None = None
    maker: str | None = None
    patient_identifier: str | None = field(default=None, repr=False)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The image for display in its own aspect ratio, shape (H, W); decoded on first access."""
        return shown(self.content)


@dataclass(frozen=True)
class Refusal:
    """Why an image gets no answer.

    Attributes:
        code: not_a_radiograph, unfamiliar, not_frontal, adult, too_small, blank or unreadable.
        reason: a sentence for the user: what was expected, what was received, how to fix it.
    """

    code: str
    reason: str


def take_in(content: bytes, size: int, limits: Limits) -> Intake:
    """Check and decode one file.

    Args:
        content: bytes of a JPEG, PNG or DICOM file.
        size: side of the model's input, in pixels.
        limits: larger files are refused without decoding.

    Raises:
        ImageError: the file is too large, damaged, of another format, or has data besides one image.
    """
    if len(content) > limits.bytes:
        raise ImageError(f"the file has {len(content):,} bytes; {limits.bytes:,} are allowed. Upload a smaller one.")
    if not content:
        raise ImageError("the file is empty (0 bytes). Fetch it again.")
    header = container.measure(content)
    if not 0 < header.width * header.height <= limits.pixels:
        raise ImageError(
            f"the header declares {header.width} x {header.height} pixels; at most {limits.pixels:,} in total are "
            "allowed. Upload the radiograph in its original size."
        )
    metadata = {} if header.dataset is None else _metadata(header.dataset)
    return Intake(content, decode(content, size), header.format, header.width, header.height, **metadata)


def shown(content: bytes) -> NDArray[np.uint8]:
    """Decode an image for display.

    Returns:
        Grey levels, shape (H, W), no side longer than `DISPLAY_SIDE`.

    Raises:
        ImageError: see `images.decode.decode`.
    """
    image = open_grey(content, DISPLAY_SIDE)
    image.thumbnail((DISPLAY_SIDE, DISPLAY_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image)


def refuse(intake: Intake) -> Refusal | None:
    """Return why an image is refused, from its size, grey levels and DICOM header; None if it is not."""
    if min(intake.width, intake.height) < MINIMUM_SIDE:
        return Refusal(
            "too_small",
            f"The image has {intake.width} x {intake.height} pixels; at least {MINIMUM_SIDE} per side are needed. "
            "Upload the original file.",
        )
    dark, bright = np.quantile(intake.square, (0.05, 0.95))
    if bright - dark < MINIMUM_CONTRAST:
        return Refusal("blank", "The image is blank or almost blank. Upload an exposed radiograph.")
    if intake.modality and intake.modality not in RADIOGRAPHY:
        return Refusal(
            "not_a_radiograph",
            f"The DICOM header has modality {intake.modality}; expected a radiograph (such as CR or DX).",
        )
    if intake.body_part and not any(name in intake.body_part for name in CHEST):
        return Refusal(
            "not_a_radiograph", f"The DICOM header has body part {intake.body_part}; expected a chest radiograph."
        )
    if intake.view and not FRONTAL & set(re.split(r"[^A-Z]+", intake.view)):
        return Refusal(
            "not_frontal",
            f"The DICOM header has view {intake.view}; expected AP or PA. Upload the frontal radiograph.",
        )
    if intake.age_years is not None and intake.age_years >= ADULT:
        return Refusal(
            "adult",
            f"The DICOM header has an age of {intake.age_years:.0f} years; the model was trained on children only.",
        )
    return None


def _metadata(dataset: Any) -> dict[str, Any]:
    return {
        "modality": _code(dataset, "Modality"),
        "view": _code(dataset, "ViewPosition"),
        "age_years": _age(_code(dataset, "PatientAge")),
        "body_part": _code(dataset, "BodyPartExamined"),
        "interpretation": _code(dataset, "PhotometricInterpretation"),
        "maker": dicom.text(dataset, "Manufacturer")[:64] or None,
        "patient_identifier": _patient(dataset),
    }


def _code(dataset: Any, keyword: str) -> str | None:
    """Return a code string (PS3.5, section 6.2), or None: other text in its place could be a name of a person."""
    text = dicom.text(dataset, keyword).upper()
    return text if CODE_STRING.fullmatch(text) else None


def _age(text: str | None) -> float | None:
    """Return years of a DICOM age string such as 003Y or 010M (PS3.5, section 6.2)."""
    match = re.fullmatch(r"(\d{1,3})([YMWD])", text or "")
    return int(match[1]) * YEARS[match[2]] if match else None


def _patient(dataset: Any) -> str | None:
    identifier, issuer = dicom.text(dataset, "PatientID"), dicom.text(dataset, "IssuerOfPatientID")
    return f"{issuer}/{identifier}" if identifier else None
