"""params.yaml as frozen, checked value objects.

Stages receive the section that they need; nothing below this module reads params.yaml.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from pneumonia.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A section of params.yaml: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PhantomParams(Section):
    """How the embedded phantom radiographs are drawn, and what is planted in them.

    ``shortcut`` is what gives the class away beside the lungs: ``jpeg``, the quality of train's files; ``size``, the
    pixels and aspect of the film; ``marker``, a tag at its right edge; ``border``, its black margins.
    """

    seed: NonNegativeInt
    patients: PositiveInt
    images_per_patient: PositiveInt
    size: Annotated[int, Field(ge=64, le=2048)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    pneumonia_fraction: Annotated[float, Field(gt=0, lt=1)]
    difficulty: Fraction
    duplicates: NonNegativeInt
    leaked_patients: NonNegativeInt
    corrupt_files: NonNegativeInt
    shortcut: Literal["none", "jpeg", "size", "marker", "border"]
    drift: Fraction


class DataParams(Section):
    """Where the images come from: ``kermany``, ``phantom``, or the path of a folder or zip."""

    source: Annotated[str, Field(min_length=1)]
    phantom: PhantomParams


class ValidateParams(Section):
    """Limits that the dataset must keep; shares are of 1."""

    minimum_pixels: PositiveInt
    maximum_quarantined: Fraction
    minimum_class_share: Annotated[float, Field(ge=0, le=0.5)]


class SplitParams(Section):
    """The patient-grouped, stratified folds of the development images."""

    seed: NonNegativeInt
    folds: Annotated[int, Field(ge=2)]
    validation_fold: NonNegativeInt

    @pydantic.model_validator(mode="after")
    def _fold_exists(self) -> "SplitParams":
        if self.validation_fold >= self.folds:
            raise ValueError(f"validation_fold must be below folds ({self.folds}), not {self.validation_fold}")
        return self


class PrepareParams(Section):
    """The decoded arrays: ``size`` by ``size`` pixels."""

    size: Annotated[int, Field(ge=32, le=1024)]


class AugmentParams(Section):
    """Strength of each random change of a training image; 0 switches one off. Ranges are symmetric.

    ``crop`` is the largest share of the width and, drawn apart, of the height that is cut off; ``equalize`` the share
    of images whose histogram is flattened, more or less.
    """

    flip: bool = True
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 8.0
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.4
    brightness: Fraction = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.2
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.2
    sharpness: Annotated[float, Field(ge=0, le=2)] = 0.8
    equalize: Fraction = 0.0


class BackboneParams(Section):
    """A network of keras.applications by its class name, and where its weights come from."""

    backbone: str
    backbone_options: dict[str, Any] = {}
    weights: Annotated[str, Field(min_length=1)]


class FitParams(Section):
    """What every network trained by gradient descent has."""

    epochs: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0)] = 0.0001
    patience: PositiveInt = 4
    class_weights: bool = True
    augment: AugmentParams = AugmentParams()


class ProbeParams(BackboneParams):
    """Frozen backbone features and a logistic regression."""

    kind: Literal["probe"]
    inverse_regularization: PositiveFloat
    batch_size: PositiveInt = 32


class CnnParams(FitParams):
    """A small convolutional network from scratch; one block per entry of ``filters``."""

    kind: Literal["cnn"]
    filters: Annotated[list[PositiveInt], Field(min_length=1)]


class FinetuneParams(BackboneParams, FitParams):
    """A pretrained backbone, fine-tuned; its batch statistics stay frozen unless ``train_batch_norm``.

    ``train_size`` is the side in pixels of the images that it learns on, by default that of its input; smaller ones
    are faster. ``warm_start`` sets the head to a logistic regression on the pretrained features before training.
    """

    kind: Literal["finetune"]
    train_size: Annotated[int, Field(ge=32, le=1024)] | None = None
    warm_start: bool = True
    train_batch_norm: bool = False

    @pydantic.model_validator(mode="after")
    def _can_learn(self) -> "FinetuneParams":
        if self.weights == "random" and not self.train_batch_norm:
            raise ValueError(
                "a network of random weights cannot learn with frozen batch statistics; "
                "set train_batch_norm: true, or give pretrained weights"
            )
        return self


ModelParams = Annotated[ProbeParams | CnnParams | FinetuneParams, Field(discriminator="kind")]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class BandParams(Section):
    """The band of doubt: the sensitivity kept below it, the specificity kept above it, on validation."""

    sensitivity: OpenFraction
    specificity: OpenFraction


class OperatingPointParams(Section):
    """The least sensitivity on validation of the threshold, and the band of doubt around it."""

    minimum_sensitivity: OpenFraction
    band: BandParams

    @pydantic.model_validator(mode="after")
    def _band_is_wider(self) -> "OperatingPointParams":
        if self.band.sensitivity < self.minimum_sensitivity:
            raise ValueError(
                f"band.sensitivity must be no less than minimum_sensitivity ({self.minimum_sensitivity}), "
                f"not {self.band.sensitivity}"
            )
        return self


CalibrationMethod = Literal["none", "temperature", "platt", "isotonic"]


class TrainParams(Section):
    """Seed, candidates for the calibration, operating point policy and the models of the matrix."""

    seed: NonNegativeInt
    calibration: Annotated[list[CalibrationMethod], Field(min_length=1)]
    operating_point: OperatingPointParams
    models: Annotated[dict[ModelName, ModelParams], Field(min_length=1)]


class BootstrapParams(Section):
    """The resamples of patients behind every interval."""

    resamples: Annotated[int, Field(ge=100)]
    seed: NonNegativeInt


class EvaluateParams(Section):
    """How models are scored; ``minimum_slice`` is in patients of either class."""

    batch_size: PositiveInt
    bootstrap: BootstrapParams
    prevalences: Annotated[list[OpenFraction], Field(min_length=1)]
    minimum_slice: PositiveInt


class ExplainParams(Section):
    """How many pictures are drawn per model and rule of choice."""

    cases: PositiveInt


class CaliperParams(Section):
    """How far two images may differ and still count as alike: as a share of the fact."""

    width: PositiveFloat
    aspect: PositiveFloat
    jpeg_quality: PositiveFloat


class AuditParams(Section):
    """The shortcut audit: what is measured, and the limits of its two verdicts.

    Attributes:
        border: width of the outermost frame, as a share of the image, narrow enough that no lung reaches it.
        data_limit: an AUC without a lung that is surely beyond this (or its mirror below 0.5) raises the alarm.
        calipers: which pairs of images are alike.
        minimum_patients: of either class, for a verdict on pairs that are alike or on a class.
        minimum_matched_auc: of a model, among pairs that are alike; the lower end of the interval counts.
        maximum_correlation: of the score with a header fact within a class; the far end counts, as below.
        maximum_change: mean change of the probability of an image that was perturbed mildly.
        maximum_flipped: share of decisions that such a perturbation turns.
        maximum_auc_loss: AUC that it costs.
    """

    border: Annotated[float, Field(gt=0, lt=0.25)]
    data_limit: Annotated[float, Field(ge=0.5, lt=1)]
    calipers: CaliperParams
    minimum_patients: PositiveInt
    minimum_matched_auc: Annotated[float, Field(gt=0.5, lt=1)]
    maximum_correlation: Fraction
    maximum_change: Fraction
    maximum_flipped: Fraction
    maximum_auc_loss: Fraction


class RegisterParams(Section):
    """Name in the MLflow registry, and the metric on which subset of validation picks the challenger."""

    name: Annotated[str, Field(min_length=1)]
    subset: Literal["validation", "swapped"]
    metric: Literal["roc_auc", "pr_auc", "accuracy", "balanced_accuracy", "f1"]


class MarginParams(Section):
    """How much worse than the champion a version may surely be, on the same test images."""

    specificity: Fraction
    roc_auc: Fraction


class SliceLimitParams(Section):
    """What a version must reach in every slice with enough patients; the lower end of the interval counts."""

    sensitivity: Fraction
    specificity: Fraction


class PromoteParams(Section):
    """The gate: what a version must show on the test set before it may become champion.

    Attributes:
        mode: ``enforce`` refuses what fails, ``warn`` promotes it and says so, ``off`` asks for nothing but a whole
            model of radiographs.
        minimum_sensitivity: the lower end of the interval counts.
        margins: against the champion; the lower end of the interval of the paired difference counts.
        maximum_calibration_error: expected calibration error; it has no interval, so its value counts.
        slices: limits in every slice that has enough patients.
        golden_tolerance: how far an answer for a golden image may be from the pinned one.
    """

    mode: Literal["enforce", "warn", "off"]
    minimum_sensitivity: Fraction
    margins: MarginParams
    maximum_calibration_error: Fraction
    slices: SliceLimitParams
    golden_tolerance: OpenFraction


class ReleaseParams(Section):
    """The network of release/: the mean of one recipe's networks over ``seeds``."""

    seeds: Annotated[list[NonNegativeInt], Field(min_length=1)]
    recipe: FinetuneParams


class MonitorParams(Section):
    """How predictions are compared with the reference profile of their model.

    Attributes:
        window: predictions that are looked at, the newest, where nothing else is said.
        minimum_images: with fewer there is no report.
        false_alarm_rate: of a whole report on images like those of the reference.
        resamples: draws from the reference that say how much differs by chance.
        seed: of them.
    """

    window: PositiveInt
    minimum_images: PositiveInt
    false_alarm_rate: OpenFraction
    resamples: PositiveInt
    seed: NonNegativeInt


class ToleratedLossParams(Section):
    """By how much a model may be worse in use than it was when it was judged, as a difference of shares."""

    sensitivity: OpenFraction
    specificity: OpenFraction
    roc_auc: OpenFraction


class FeedbackParams(Section):
    """What is made of labels that come after the predictions.

    Attributes:
        periods: into which the predictions of a model are cut, at most.
        period_size: predictions in a period, at least.
        recent: the newest labels that tell how the model is now.
        minimum_labels: of either class, for a verdict that all is well.
        tolerated_loss: before a model counts as worse.
        false_alarm_rate: chance that a model which is not worse is ever called so, over all looks.
    """

    periods: PositiveInt
    period_size: PositiveInt
    recent: PositiveInt
    minimum_labels: PositiveInt
    tolerated_loss: ToleratedLossParams
    false_alarm_rate: OpenFraction


class PodParams(Section):
    """What a pod of a stage asks for.

    Attributes:
        cpu: cores that it gets, in Kubernetes' notation (``500m`` is a half).
        memory: that it gets and may not exceed, in Kubernetes' notation.
        gpus: devices of ``nvidia.com/gpu``.
        nodes: labels that its node must have.
        retries: how often it is tried again after a failure.
    """

    cpu: Annotated[str, Field(pattern=r"^\d+(\.\d+|m)?$")]
    memory: Annotated[str, Field(pattern=r"^\d+(Mi|Gi|M|G)$")]
    gpus: NonNegativeInt = 0
    nodes: dict[str, str] = {}
    retries: NonNegativeInt = 0


class VolumeParams(Section):
    """A persistent volume claim, and the folder where every pod finds it."""

    claim: Annotated[str, Field(min_length=1)]
    path: Annotated[str, Field(pattern=r"^/.")]


class SecretParams(Section):
    """Names of the Kubernetes secrets with the credentials of the remote and the address of MLflow."""

    storage: Annotated[str, Field(min_length=1)]
    mlflow: Annotated[str, Field(min_length=1)]


class KubeflowParams(Section):
    """How the DAG runs on Kubeflow Pipelines.

    Attributes:
        image: with the code of this repository and its ``kubeflow`` extra.
        remote: DVC remote through which pods exchange data: a URL, or a folder on the volume.
        endpoint: address of an S3-compatible server; empty for the provider's own.
        mlflow_ui: address of the MLflow UI as people's browsers reach it, for links; empty for that of the server.
        volume: mounted into every pod, if any.
        secrets: where the credentials are.
        pods: what each stage asks for; ``default`` holds for those that are not named.
    """

    image: Annotated[str, Field(min_length=1)]
    remote: Annotated[str, Field(min_length=1)]
    endpoint: str
    mlflow_ui: str
    volume: VolumeParams | None
    secrets: SecretParams
    pods: dict[str, PodParams]

    @pydantic.field_validator("pods")
    @classmethod
    def _default_exists(cls, pods: dict[str, PodParams]) -> dict[str, PodParams]:
        if "default" not in pods:
            raise ValueError("pods must have a default, for the stages that it does not name")
        return pods


class Params(Section):
    """The whole of params.yaml."""

    data: DataParams
    validation: ValidateParams = Field(alias="validate")
    split: SplitParams
    prepare: PrepareParams
    train: TrainParams
    evaluate: EvaluateParams
    explain: ExplainParams
    audit: AuditParams
    register_: RegisterParams = Field(alias="register")
    promote: PromoteParams
    release: ReleaseParams
    monitor: MonitorParams
    feedback: FeedbackParams
    kubeflow: KubeflowParams


def load(path: Path) -> Params:
    """Read and check a params file.

    Raises:
        ConfigError: the file is missing or not YAML, or a key is unknown, missing or has a wrong value; every
            fault is named with its place.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing. Run from the project's root, or restore it with git.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    try:
        return Params.model_validate(content)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path} has {error.error_count()} fault(s):\n{_describe(error)}") from error


def _describe(error: pydantic.ValidationError) -> str:
    return "\n".join(_describe_fault(fault) for fault in error.errors())


def _describe_fault(fault: Any) -> str:
    location = [str(part) for part in fault["loc"]]
    if location[:2] == ["train", "models"] and len(location) > 4:
        del location[3]  # pydantic names the kind of model here, which is no key of the file
    place = ".".join(location) or "the whole file"
    if fault["type"] == "extra_forbidden":
        return f"  {place}: unknown key. Check its spelling, or remove it."
    if fault["type"] == "missing":
        return f"  {place}: this key is missing. Add it."
    return f"  {place}: {fault['msg']}, but got {fault['input']!r}."
