"""Bytes from strangers to a checked image, and what can be refused without asking a model.

Nothing is decoded before its claims have been checked (`images.container`), and the square that the model sees is the
one of `images.decode`.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.errors import ImageError
from pneumonia.images import container, dicom
from pneumonia.images.decode import decode, open_grey

DISPLAY_SIDE = 2048
"""Pixels of the longer side of what is shown; larger images are made smaller."""

MINIMUM_SIDE = 100
"""Pixels; below, ribs and vessels are no longer told apart. The smallest image of the Kermany set has 127."""
MINIMUM_CONTRAST = 12
"""Grey levels between the darkest and the brightest twentieth; with less, an image counts as blank."""
UNREADABLE = "unreadable"
"""Code of the refusal of bytes that `take_in` does not take."""
ADULT = 18.0
"""Years."""
RADIOGRAPHY = frozenset({"CR", "DX", "DR", "RF", "RG", "XA", "OT", "SC"})
"""DICOM modalities (PS3.3, C.7.3.1.1.1) that may hold a radiograph; OT and SC are scans and screenshots."""
FRONTAL = frozenset({"AP", "PA"})
CHEST = ("CHEST", "THORAX", "LUNG", "TORAX")
CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True)
class Limits:
    """What is not even decoded: files of more ``bytes``, or images of more ``pixels`` (width times height)."""

    bytes: int
    pixels: int


@dataclass(frozen=True, eq=False)
class Intake:
    """An image that can be answered for.

    Attributes:
        square: (size, size) uint8, what `images.decode.decode` gives.
        format: JPEG, PNG or DICOM.
        width: of the file as stored, in pixels.
        height: of the file as stored, in pixels.
        modality: what a DICOM file says of its making; None where it says nothing, and for other formats.
        view: likewise, of the direction, such as AP, PA or LL.
        age_years: likewise, of the patient.
        body_part: likewise, in capitals.
        interpretation: likewise, of what its grey levels mean (PhotometricInterpretation).
        maker: likewise, of the device.
        patient_identifier: likewise, with its issuer. For nothing but a keyed hash: it names a person.
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
        """The image for people, (H, W) uint8 in its own shape; decoded when first asked for."""
        return shown(self.content)


@dataclass(frozen=True)
class Refusal:
    """Why an image gets no answer.

    Attributes:
        code: not_a_radiograph, unfamiliar, not_frontal, adult, too_small or blank.
        reason: for people: what was expected, what came, and how to mend it.
    """

    code: str
    reason: str


def take_in(content: bytes, size: int, limits: Limits) -> Intake:
    """Check and decode the bytes of one image.

    Args:
        content: of a JPEG, PNG or DICOM file.
        size: side of the square that the model sees, in pixels.
        limits: above which nothing is decoded.

    Raises:
        ImageError: the bytes are too many, broken, of another kind, or something else besides an image.
    """
    if len(content) > limits.bytes:
        raise ImageError(f"the file has {len(content):,} bytes; {limits.bytes:,} are allowed. Send a smaller one.")
    if not content:
        raise ImageError("the file is empty (0 bytes). Fetch it again.")
    header = container.measure(content)
    if not 0 < header.width * header.height <= limits.pixels:
        raise ImageError(
            f"the image claims {header.width} x {header.height} pixels; up to {limits.pixels:,} in all are allowed. "
            "Send the radiograph in its usual size."
        )
    facts = {} if header.dataset is None else _facts(header.dataset)
    return Intake(content, decode(content, size), header.format, header.width, header.height, **facts)


def shown(content: bytes) -> NDArray[np.uint8]:
    """Decode an image for people, (H, W) uint8, no side longer than `DISPLAY_SIDE`.

    Raises:
        ImageError: as of `images.decode.decode`.
    """
    image = open_grey(content, DISPLAY_SIDE)
    image.thumbnail((DISPLAY_SIDE, DISPLAY_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image)


def refuse(intake: Intake) -> Refusal | None:
    """Say why an image should get no answer, as far as its size, its grey levels and its DICOM header tell."""
    if min(intake.width, intake.height) < MINIMUM_SIDE:
        return Refusal(
            "too_small",
            f"The image has {intake.width} x {intake.height} pixels; at least {MINIMUM_SIDE} a side are needed. Send "
            "the original.",
        )
    dark, bright = np.quantile(intake.square, (0.05, 0.95))
    if bright - dark < MINIMUM_CONTRAST:
        return Refusal("blank", "The image is blank, or nearly so. Send an exposed radiograph.")
    if intake.modality and intake.modality not in RADIOGRAPHY:
        return Refusal(
            "not_a_radiograph",
            f"The DICOM header says modality {intake.modality}; expected a radiograph (such as CR or DX).",
        )
    if intake.body_part and not any(name in intake.body_part for name in CHEST):
        return Refusal(
            "not_a_radiograph", f"The DICOM header says body part {intake.body_part}; expected a chest radiograph."
        )
    if intake.view and not FRONTAL & set(re.split(r"[^A-Z]+", intake.view)):
        return Refusal(
            "not_frontal", f"The DICOM header says view {intake.view}; expected a frontal one (AP or PA). Send that."
        )
    if intake.age_years is not None and intake.age_years >= ADULT:
        return Refusal(
            "adult",
            f"The DICOM header says an age of {intake.age_years:.0f} years; the model has learnt from children alone.",
        )
    return None


def _facts(dataset: Any) -> dict[str, Any]:
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
    """Return a code string (PS3.5, section 6.2); anything else in its place could be the name of a person."""
    text = dicom.text(dataset, keyword).upper()
    return text if CODE_STRING.fullmatch(text) else None


def _age(text: str | None) -> float | None:
    """Return years of a DICOM age string such as 003Y or 010M (PS3.5, section 6.2)."""
    match = re.fullmatch(r"(\d{1,3})([YMWD])", text or "")
    return int(match[1]) * YEARS[match[2]] if match else None


def _patient(dataset: Any) -> str | None:
    identifier, issuer = dicom.text(dataset, "PatientID"), dicom.text(dataset, "IssuerOfPatientID")
    return f"{issuer}/{identifier}" if identifier else None
