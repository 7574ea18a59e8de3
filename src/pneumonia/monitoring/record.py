"""One record per prediction for monitoring, the same from the web application, the command line and batch scoring.

A record holds no pixels and nothing that identifies a person: the manufacturer and the view position of a DICOM file
are kept only if they are on a fixed list, and the reason of a refusal is not kept at all.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from pneumonia.bundle.bundle import Card
from pneumonia.images.metadata import read_encoding
from pneumonia.inference.image_files import INDETERMINATE, Examined
from pneumonia.inference.intake import Intake
from pneumonia.inference.runtime import EMBEDDING_SIZE, Reading

RecordSource = Literal["app", "cli", "batch", "reference"]
"""What requested the prediction; ``reference`` marks the rows of a reference profile."""

VIEWS = frozenset({"AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL"})
"""Values of DICOM ViewPosition (PS3.3, C.8.7.1.1.1 and C.8.11.5) that are kept."""
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
"""Names of manufacturers, as the name or one of its words begins; any other manufacturer is `OTHER`."""
OTHER = "OTHER"
DARKEST, BRIGHTEST = 2, 253
"""Grey levels up to which, and from which on, a pixel counts as clipped."""
COMPONENTS = tuple(f"component_{number}" for number in range(EMBEDDING_SIZE))


@dataclass(frozen=True)
class ModelIdentity:
    """The model that makes predictions.

    Attributes:
        name: name of the model in params.yaml.
        version: version in the registry; None for a bundle that is not from the registry.
        bundle_sha256: hash of the bundle.
        threshold: operating point, a probability.
    """

    name: str
    version: int | None
    bundle_sha256: str
    threshold: float

    @classmethod
    def of(cls, card: Card, version: int | None) -> "ModelIdentity":
        """Return the identity of a bundle by its card."""
        return cls(card.name, version, card.sha256, card.threshold)


@dataclass(frozen=True)
class PredictionRecord:
    """One prediction; each field is a column of the prediction log.

    Attributes:
        id: identifier of the prediction; adding it to the log twice changes nothing.
        time: time of the prediction, UTC.
        source: what requested it.
        model: name of the model in params.yaml.
        version: version in the registry; None for a bundle that is not from the registry.
        bundle_sha256: hash of the model's bundle.
        status: answered, refused or unreadable.
        refusal: code of the refusal; None if the image was answered.
        decision: NORMAL, PNEUMONIA or INDETERMINATE; None unless answered.
        probability: calibrated probability of PNEUMONIA, 0 to 1; None unless answered.
        threshold: operating point.
        familiarity: share of validation images that are less familiar, 0 to 1; None if the network did not run.
        format: JPEG, PNG or DICOM. This field and all below are None if the file is unreadable.
        width: in pixels.
        height: in pixels.
        aspect: width divided by height.
        mode: Pillow's image mode, or DICOM's photometric interpretation.
        jpeg_quality: 1 to 100; None for other formats.
        brightness: mean grey level of the square that the model sees, 0 to 255.
        contrast: standard deviation of its grey levels.
        clipped_dark: share of its pixels that are black, 0 to 1.
        clipped_bright: share of its pixels that are white, 0 to 1.
        sharpness: variance of its Laplacian (Pech-Pacheco et al., Diatom autofocusing, ICPR 2000).
        maker: manufacturer in a DICOM file, one of `MAKERS` or `OTHER`.
        view: view position in a DICOM file, one of `VIEWS`.
        component_0: first principal component of the network's embedding, likewise up to component_7; None where the
            bundle has fewer.
        latency_ms: time from bytes to answer.
    """

    id: UUID
    time: datetime
    source: RecordSource
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
class ImageProperties:
    """Properties of a file and of its grey levels; attributes as of `PredictionRecord`."""

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
    def of(cls, intake: Intake) -> "ImageProperties":
        """Compute the properties of a decoded image."""
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


def make_record(
    model: ModelIdentity,
    intake: Intake | None,
    reading: Reading | None,
    refusal: str | None,
    *,
    id: UUID,
    source: RecordSource,
    latency_ms: float | None,
    time: datetime | None = None,
) -> PredictionRecord:
    """Return the record of one prediction.

    Args:
        model: the model that answered, or would have.
        intake: the decoded image; None if it is unreadable.
        reading: output of the network; None if it did not run.
        refusal: code of the refusal; None if the image was answered.
        id: identifier of the prediction.
        source: what requested it.
        latency_ms: time from bytes to answer; None if it was not measured.
        time: time of the prediction; by default now.
    """
    answer = None if refusal else reading
    return PredictionRecord(
        id=id,
        time=(time or datetime.now(UTC)).astimezone(UTC),
        source=source,
        model=model.name,
        version=model.version,
        bundle_sha256=model.bundle_sha256,
        status="unreadable" if intake is None else "refused" if refusal else "answered",
        refusal=refusal,
        decision=_decision(answer) if answer else None,
        probability=answer.probability if answer else None,
        threshold=model.threshold,
        familiarity=reading.familiarity if reading else None,
        latency_ms=latency_ms,
        **vars(ImageProperties.of(intake) if intake else ImageProperties()),
        **_components(reading),
    )


def record_from_file(model: ModelIdentity, result: Examined, *, id: UUID, source: RecordSource) -> PredictionRecord:
    """Return the record of a file that was examined; other arguments as of `make_record`."""
    code = result.refusal.code if result.refusal else None
    return make_record(
        model, result.intake, result.reading, code, id=id, source=source, latency_ms=result.seconds * 1000
    )


def _decision(reading: Reading) -> str:
    return INDETERMINATE if reading.indeterminate else reading.label


def _components(reading: Reading | None) -> dict[str, Any]:
    values = map(float, reading.embedding) if reading else ()
    return dict.fromkeys(COMPONENTS) | dict(zip(COMPONENTS, values, strict=False))


def _encoding(intake: Intake) -> tuple[str | None, int | None]:
    """Return image mode and JPEG quality from the file's header."""
    if intake.format == "DICOM":
        return intake.interpretation, None
    return read_encoding(intake.content, intake.format)


def _sharpness(levels: NDArray[np.uint8]) -> float:
    grey = levels.astype(np.float32)
    laplacian = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.var())


def _known_maker(maker: str | None) -> str | None:
    if maker is None:
        return None
    name = f"{maker.upper()} "
    return next((known.strip() for known in MAKERS if name.startswith(known) or f" {known}" in name), OTHER)
