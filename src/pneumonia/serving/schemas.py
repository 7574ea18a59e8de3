"""Request and response models of the REST API."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from pneumonia.core.estimate import Estimate
from pneumonia.core.labels import CLASS_NAMES
from pneumonia.core.model import FrozenModel
from pneumonia.monitoring.log import LabelValue

Status = Literal["answered", "refused", "unreadable"]


class IndeterminateBand(FrozenModel):
    """Probabilities from ``low`` to below ``high``, which are too close to the operating point to rely on."""

    low: float
    high: float


class RefusalReason(FrozenModel):
    """Why an image has no result."""

    code: str = Field(description="for programs: unreadable, too_small, blank, not_frontal, adult, unfamiliar, ...")
    reason: str = Field(description="for people")


class ImageInfo(FrozenModel):
    """Format and size of an uploaded image."""

    format: str = Field(description="JPEG, PNG or DICOM")
    width: int = Field(description="in pixels")
    height: int = Field(description="in pixels")
    view: str | None = Field(description="DICOM ViewPosition")


class ModelInfo(FrozenModel):
    """Identity of a model."""

    name: str
    version: int | None = Field(description="version in the model registry; null for other bundles")
    origin: str = Field(description="where the bundle was loaded from")
    bundle_sha256: str = Field(description="SHA-256 that identifies the model's bundle")
    data: str = Field(description="source and release of the training images")
    is_phantom: bool = Field(description="trained on synthetic images, not valid for patients")


class ObservedFrequency(FrozenModel):
    """Frequency of pneumonia among the validation images with a similar probability."""

    share: float = Field(description="0 to 1")
    low: float | None = Field(description="lower end of the 95% interval; null where undefined")
    high: float | None = Field(description="upper end of the 95% interval; null where undefined")
    images: int = Field(description="number of validation images")


class ReaderVerdict(FrozenModel):
    """Assessment of an image by a reader."""

    verdict: LabelValue
    blinded: bool = Field(description="given before the result was shown")
    created: datetime


class FeedbackRequest(FrozenModel):
    """Assessment of an image as sent by a client."""

    verdict: LabelValue
    blinded: bool = False


class Prediction(FrozenModel):
    """Result for one image.

    While ``hidden``, decision, probability, familiarity and meaning are null: the reader assesses the image first.
    """

    id: UUID
    created: datetime
    file: str = Field(description="file name given by the client; empty once the image is not in memory any more")
    status: Status
    decision: Literal["PNEUMONIA", "NORMAL", "INDETERMINATE"] | None
    probability: float | None = Field(description="calibrated probability of PNEUMONIA, 0 to 1")
    threshold: float = Field(description="operating point: the lowest probability that counts as PNEUMONIA")
    band: IndeterminateBand
    familiarity: float | None = Field(
        description="share of validation images that are less similar to the development images, 0 to 1"
    )
    refusal: RefusalReason | None
    warnings: list[str]
    image: ImageInfo | None
    model: ModelInfo
    meaning: ObservedFrequency | None
    feedback: list[ReaderVerdict]
    hidden: bool = Field(False, description="withheld until an assessment is given or `reveal` is requested")


class PredictionList(FrozenModel):
    """Results in the order of the upload."""

    predictions: list[Prediction]


class ModelReloadStatus(FrozenModel):
    """Last change of the model, or last attempt."""

    loaded: datetime = Field(description="when the model in use was loaded")
    failed: str | None = Field(description="why a newer model failed to load; null if none failed")


class SubsetEvaluation(FrozenModel):
    """Evaluation of the model on one subset: images and patients per class, and metrics."""

    images: dict[str, int]
    patients: dict[str, int]
    figures: dict[str, Estimate]


class ModelDetails(FrozenModel):
    """The model in use, with its metrics and limitations."""

    model: ModelInfo
    kind: str = Field(description="network architecture")
    image_size: int = Field(description="side of the network's input in pixels")
    class_names: tuple[str, str] = CLASS_NAMES
    threshold: float = Field(description="operating point")
    band: IndeterminateBand
    calibration: str = Field(description="calibration method")
    validation: dict[str, float] = Field(description="metrics on the validation images at the operating point")
    limits: str = Field(description="limitations, as Markdown")
    evaluation: dict[str, SubsetEvaluation] | None = Field(
        description="evaluation by subset with 95% intervals, if available"
    )
    swap: ModelReloadStatus


class Readiness(FrozenModel):
    """Whether the service can process images, and with which model."""

    ready: bool
    model: ModelInfo
    swap: ModelReloadStatus
