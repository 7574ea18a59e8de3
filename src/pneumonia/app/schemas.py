"""What the API says and takes, as pydantic models: the contract with pages, scripts and monitoring."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from pneumonia.labels import CLASS_NAMES
from pneumonia.monitoring.log import Verdict

Status = Literal["answered", "refused", "unreadable"]


class Said(BaseModel):
    """Something that is said once and does not change."""

    model_config = ConfigDict(frozen=True)


class Band(Said):
    """Probabilities from ``low`` to below ``high`` are too near to the operating point to rely on."""

    low: float
    high: float


class Refusal(Said):
    """Why an image was not answered."""

    code: str = Field(description="for programs: unreadable, too_small, blank, not_frontal, adult, unfamiliar, ...")
    reason: str = Field(description="for people")


class ImageFacts(Said):
    """What the file says of its image."""

    format: str = Field(description="JPEG, PNG or DICOM")
    width: int
    height: int
    view: str | None = Field(description="DICOM ViewPosition")


class ModelFacts(Said):
    """Which model answered."""

    name: str
    version: int | None = Field(description="in the registry; null for a bundle that is not from there")
    origin: str
    bundle_sha256: str = Field(description="hash of the model's weights")
    data: str = Field(description="source and release of the training images")
    is_phantom: bool = Field(description="trained on drawings: it says nothing about patients")


class Meaning(Said):
    """Of the validation images that scored like this one, how many showed pneumonia."""

    share: float
    low: float | None = Field(description="of a 95% interval; null where it cannot be told")
    high: float | None
    images: int = Field(description="on which this rests")


class Feedback(Said):
    """A reader's own verdict."""

    verdict: Verdict
    blinded: bool = Field(description="given before the model's answer was seen")
    created: datetime


class GivenFeedback(BaseModel):
    """A reader's verdict as it is given."""

    model_config = ConfigDict(extra="forbid")

    verdict: Verdict
    blinded: bool = False


class Prediction(Said):
    """What is said of one image.

    While ``hidden``, decision, probability, familiarity and meaning are null: the reader wants to judge first.
    """

    id: UUID
    created: datetime
    file: str = Field(description="as the sender called it; empty once the image is forgotten: names are not stored")
    status: Status
    decision: Literal["PNEUMONIA", "NORMAL", "INDETERMINATE"] | None
    probability: float | None = Field(description="of PNEUMONIA, calibrated, 0 to 1")
    threshold: float = Field(description="operating point: PNEUMONIA from here on")
    band: Band
    familiarity: float | None = Field(description="share of validation images that are less familiar; low is strange")
    refusal: Refusal | None
    warnings: list[str]
    image: ImageFacts | None
    model: ModelFacts
    meaning: Meaning | None
    feedback: list[Feedback]
    hidden: bool = Field(False, description="withheld until a verdict is given, or `reveal` asks for it")


class Predictions(Said):
    """An entry per image, in the order of the upload."""

    predictions: list[Prediction]


class Swap(Said):
    """The last change of the model, or the last attempt."""

    loaded: datetime = Field(description="when the model that answers was loaded")
    failed: str | None = Field(description="why a newer one could not take over; null when none failed")


class ModelCard(Said):
    """The model that answers now, and what is known of it."""

    model: ModelFacts
    kind: str
    image_size: int
    class_names: tuple[str, str] = CLASS_NAMES
    threshold: float
    band: Band
    calibration: str
    validation: dict[str, float] = Field(description="figures on validation images, at the operating point")
    git_commit: str | None
    limits: str = Field(description="what the model must not be trusted with, as Markdown")
    judgement: dict[str, object] | None = Field(description="the evaluation with its intervals, where it is at hand")
    swap: Swap


class Readiness(Said):
    """Whether the service can answer, with what, and whether a newer model failed to load."""

    ready: bool
    model: ModelFacts
    swap: Swap
