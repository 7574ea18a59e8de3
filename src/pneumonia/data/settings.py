"""Settings of the dataset: source of the images, expectations, and split."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeInt, PositiveInt

from pneumonia.core.settings import Fraction, Section


class PhantomParams(Section):
    """Section ``data.phantom``: how phantoms are drawn, and which faults are planted.

    ``shortcut`` makes the class predictable without the lungs: ``jpeg``, by the JPEG quality of the train files;
    ``size``, by size and aspect ratio; ``marker``, by a tag at the right edge; ``border``, by black margins.
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
    """Section ``data``: source of the images: ``kermany``, ``phantom``, or the path of a folder or zip archive."""

    source: Annotated[str, Field(min_length=1)]
    phantom: PhantomParams


class ValidateParams(Section):
    """Section ``validate``: limits for the dataset; shares are 0 to 1."""

    minimum_pixels: PositiveInt
    maximum_quarantined: Fraction
    minimum_class_share: Annotated[float, Field(ge=0, le=0.5)]


class SplitParams(Section):
    """Section ``split``: patient-grouped, stratified folds of the development images."""

    seed: NonNegativeInt
    folds: Annotated[int, Field(ge=2)]
    validation_fold: NonNegativeInt

    @pydantic.model_validator(mode="after")
    def _fold_exists(self) -> "SplitParams":
        if self.validation_fold >= self.folds:
            raise ValueError(f"validation_fold must be below folds ({self.folds}), not {self.validation_fold}")
        return self
