"""Settings of training: architectures, recipes and seeds."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from pneumonia.core.settings import Fraction, Section


class AugmentParams(Section):
    """Strength of each random change of a training image; 0 disables one. Ranges are symmetric.

    ``crop`` is the largest share of the width and, drawn independently, of the height that is cropped; ``equalize``
    the share of images whose histogram is equalized, by a random degree.
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
    """A network of keras.applications by its class name, and the source of its weights."""

    backbone: str
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    weights: Annotated[str, Field(min_length=1)]


class FitParams(Section):
    """Settings of every network that is trained by gradient descent."""

    epochs: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0)] = 0.0001
    patience: PositiveInt = 4
    class_weights: bool = True
    augment: AugmentParams = AugmentParams()


class ProbeParams(BackboneParams):
    """A logistic regression on the features of a frozen backbone."""

    kind: Literal["probe"]
    inverse_regularization: PositiveFloat
    batch_size: PositiveInt = 32


class CnnParams(FitParams):
    """A small convolutional network with random initial weights; one block per entry of ``filters``."""

    kind: Literal["cnn"]
    filters: Annotated[list[PositiveInt], Field(min_length=1)]


class FinetuneParams(BackboneParams, FitParams):
    """A pretrained backbone, fine-tuned; its batch normalization stays frozen unless ``train_batch_norm``.

    ``train_size`` is the side of the training images in pixels, by default that of the input; smaller ones are faster.
    ``warm_start`` sets the head to a logistic regression on the pretrained features before training.
    """

    kind: Literal["finetune"]
    train_size: Annotated[int, Field(ge=32, le=1024)] | None = None
    warm_start: bool = True
    train_batch_norm: bool = False

    @pydantic.model_validator(mode="after")
    def _can_learn(self) -> "FinetuneParams":
        if self.weights == "random" and not self.train_batch_norm:
            raise ValueError(
                "a network with random weights cannot be trained with frozen batch normalization; "
                "set train_batch_norm: true, or give pretrained weights"
            )
        return self


ModelParams = Annotated[ProbeParams | CnnParams | FinetuneParams, Field(discriminator="kind")]

ModelName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class TrainParams(Section):
    """Seed, and the recipe of each model."""

    seed: NonNegativeInt
    models: Annotated[dict[ModelName, ModelParams], Field(min_length=1)]


class ReleaseParams(Section):
    """The network in release/: the mean of the weights of one recipe's networks, one per seed."""

    seeds: Annotated[list[NonNegativeInt], Field(min_length=1)]
    recipe: FinetuneParams
