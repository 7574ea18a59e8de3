"""What is noted of one prediction, for monitoring: the same facts from the application, the command line and scoring.

Never pixels, and nothing that names a person: free text of a file (a maker, a view) is kept only where it is one of a
few known words, and the reason of a refusal not at all.
"""

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.data import manifest
from pneumonia.inference.files import INDETERMINATE, Examined
from pneumonia.inference.intake import Intake
from pneumonia.inference.runtime import MONITORED, Reading
from pneumonia.models.bundle import Card

Origin = Literal["app", "cli", "batch", "reference"]
"""Who asked for the prediction; ``reference`` is the profile of the images that a model was made with."""

VIEWS = frozenset({"AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL"})
"""DICOM ViewPosition (PS3.3, C.8.7.1.1.1 and C.8.11.5)."""
MAKERS = (
    "AGFA",
    "CANON",
    "CARESTREAM",
    "FUJIFILM",
    "GE ",
    "HOLOGIC",
    "KODAK",
    "KONICA",
    "MINDRAY",
    "PHILIPS",
    "SAMSUNG",
    "SHIMADZU",
    "SIEMENS",
    "TOSHIBA",
    "UNITED IMAGING",
)
"""How the name of a maker begins or goes on; anything else is `OTHER`."""
OTHER = "OTHER"
DARKEST, BRIGHTEST = 2, 253
"""Grey levels up to which, or from which on, a pixel counts as clipped."""
COMPONENTS = tuple(f"component_{number}" for number in range(MONITORED))


@dataclass(frozen=True)
class Answering:
    """The model that answers: its name, its version in the registry if any, its weights' hash and its threshold."""

    name: str
    version: int | None
    bundle_sha256: str
    threshold: float

    @classmethod
    def of(cls, card: Card, version: int | None) -> "Answering":
        """Take the facts from a bundle's card."""
        return cls(card.name, version, card.model_sha256, card.threshold)


@dataclass(frozen=True)
class Record:
    """One prediction; every field is a column of the log.

    Attributes:
        id: of the prediction; adding it twice changes nothing.
        time: in UTC.
        source: who asked.
        model: its name in params.yaml.
        version: in the registry, None for a bundle that is not from there.
        bundle_sha256: hash of the model's weights.
        status: answered, refused or unreadable.
        refusal: code of the refusal, None where it was answered.
        decision: NORMAL, PNEUMONIA or INDETERMINATE; None where it was not answered.
        probability: of PNEUMONIA, calibrated, 0 to 1; None where it was not answered.
        threshold: operating point.
        familiarity: share of validation images that are less familiar, 0 to 1; None where the network was not asked.
        format: JPEG, PNG or DICOM; this and all that follows is None where the file is unreadable.
        width: in pixels.
        height: in pixels.
        aspect: width by height.
        mode: Pillow's, or DICOM's photometric interpretation.
        jpeg_quality: 1 to 100, None of other formats.
        brightness: mean grey level of the square that the model sees, 0 to 255.
        contrast: standard deviation of its grey levels.
        clipped_dark: share of its pixels that are black, 0 to 1.
        clipped_bright: share of its pixels that are white, 0 to 1.
        sharpness: variance of its Laplacian (Pech-Pacheco et al., Diatom autofocusing, ICPR 2000).
        maker: of a DICOM device, one of `MAKERS` or `OTHER`.
        view: of a DICOM file, one of `VIEWS`.
        component_0: principal components of what the network made of it; None where there are fewer.
        latency_ms: from the bytes to the answer.
    """

    id: UUID
    time: datetime
    source: Origin
    model: str
    version: int | None
    bundle_sha256: str
    status: str
    refusal: str | None
    decision: str | None
    probability: float | None
    threshold: float
    familiarity: float | None
    format: str | None
    width: int | None
    height: int | None
    aspect: float | None
    mode: str | None
    jpeg_quality: int | None
    brightness: float | None
    contrast: float | None
    clipped_dark: float | None
    clipped_bright: float | None
    sharpness: float | None
    maker: str | None
    view: str | None
    component_0: float | None
    component_1: float | None
    component_2: float | None
    component_3: float | None
    component_4: float | None
    component_5: float | None
    component_6: float | None
    component_7: float | None
    latency_ms: float | None


@dataclass(frozen=True)
class ImageFacts:
    """What a file and its grey levels say; attributes as of `Record`."""

    format: str | None = None
    width: int | None = None
    height: int | None = None
    aspect: float | None = None
    mode: str | None = None
    jpeg_quality: int | None = None
    brightness: float | None = None
    contrast: float | None = None
    clipped_dark: float | None = None
    clipped_bright: float | None = None
    sharpness: float | None = None
    maker: str | None = None
    view: str | None = None

    @classmethod
    def of(cls, intake: Intake) -> "ImageFacts":
        """Measure an image."""
        mode, quality = _encoding(intake)
        levels = intake.square
        return cls(
            format=intake.format,
            width=intake.width,
            height=intake.height,
            aspect=intake.width / intake.height,
            mode=mode,
            jpeg_quality=quality,
            brightness=float(levels.mean()),
            contrast=float(levels.std()),
            clipped_dark=float(np.mean(levels <= DARKEST)),
            clipped_bright=float(np.mean(levels >= BRIGHTEST)),
            sharpness=_sharpness(levels),
            maker=_known_maker(intake.maker),
            view=intake.view if intake.view in VIEWS else None,
        )


def record(
    answering: Answering,
    intake: Intake | None,
    reading: Reading | None,
    refusal: str | None,
    *,
    id: UUID,
    source: Origin,
    latency_ms: float | None,
    time: datetime | None = None,
) -> Record:
    """Note one prediction.

    Args:
        answering: the model that answered, or would have.
        intake: the decoded image; None where it is unreadable.
        reading: what the network said; None where it was not asked.
        refusal: code of why there is no answer, None where there is one.
        id: of the prediction.
        source: who asked.
        latency_ms: from the bytes to the answer; None where it was not measured.
        time: of the prediction; now where it is not given.
    """
    answer = None if refusal else reading
    return Record(
        id=id,
        time=(time or datetime.now(UTC)).astimezone(UTC),
        source=source,
        model=answering.name,
        version=answering.version,
        bundle_sha256=answering.bundle_sha256,
        status="unreadable" if intake is None else "refused" if refusal else "answered",
        refusal=refusal,
        decision=_decision(answer) if answer else None,
        probability=answer.probability if answer else None,
        threshold=answering.threshold,
        familiarity=reading.familiarity if reading else None,
        latency_ms=latency_ms,
        **vars(ImageFacts.of(intake) if intake else ImageFacts()),
        **_components(reading),
    )


def record_of(answering: Answering, said: Examined, *, id: UUID, source: Origin) -> Record:
    """Note what came of a file; arguments as of `record`."""
    code = said.refusal.code if said.refusal else None
    latency = said.seconds * 1000
    return record(answering, said.intake, said.reading, code, id=id, source=source, latency_ms=latency)


def _decision(reading: Reading) -> str:
    return INDETERMINATE if reading.indeterminate else reading.label


def _components(reading: Reading | None) -> dict[str, Any]:
    known = map(float, reading.embedding) if reading else ()
    return dict.fromkeys(COMPONENTS) | dict(zip(COMPONENTS, known, strict=False))


def _encoding(intake: Intake) -> tuple[str | None, int | None]:
    """Return mode and JPEG quality, read from the header alone."""
    if intake.format == "DICOM":
        return intake.interpretation, None
    with Image.open(io.BytesIO(intake.content), formats=[intake.format]) as image:
        tables = getattr(image, "quantization", None)
        return image.mode, manifest.jpeg_quality(np.array(tables[0])) if tables else None


def _sharpness(levels: NDArray[np.uint8]) -> float:
    grey = levels.astype(np.float32)
    across = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1]
    return float(across.var())


def _known_maker(maker: str | None) -> str | None:
    if maker is None:
        return None
    said = f"{maker.upper()} "
    return next((known.strip() for known in MAKERS if said.startswith(known) or f" {known}" in said), OTHER)
