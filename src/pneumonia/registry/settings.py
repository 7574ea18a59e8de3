"""Settings of registration and promotion."""

from typing import Annotated, Literal

from pydantic import Field

from pneumonia.core.settings import Fraction, OpenFraction, Section


class RegisterParams(Section):
    """Registration of the challenger.

    Attributes:
        name: of the registered model.
        subset: images on which the model is selected: those of validation, or the same images aspect-swapped.
        metric: by which the model is selected; the highest value wins.
    """

    name: Annotated[str, Field(min_length=1)]
    subset: Literal["validation", "aspect_swapped"]
    metric: Literal["roc_auc", "pr_auc", "accuracy", "balanced_accuracy", "f1"]


class MarginParams(Section):
    """Non-inferiority margins: largest accepted loss against the champion on the same test images."""

    specificity: Fraction
    roc_auc: Fraction


class SliceLimitParams(Section):
    """Smallest accepted lower ends of the 95% intervals in each slice with enough patients."""

    sensitivity: Fraction
    specificity: Fraction


class PromoteParams(Section):
    """The promotion gate: requirements on the official test set for a new champion.

    Attributes:
        mode: ``enforce`` refuses a version that fails a criterion, ``warn`` promotes it with a warning, ``off`` checks
            only the source of the images and the integrity of the bundle.
        minimum_sensitivity: smallest accepted lower end of the 95% interval.
        margins: applied to the lower end of the 95% interval of the paired difference.
        maximum_calibration_error: largest accepted expected calibration error, which has no interval.
        slices: limits in each slice with enough patients.
        golden_tolerance: largest accepted difference from the pinned probability of a golden image.
    """

    mode: Literal["enforce", "warn", "off"]
    minimum_sensitivity: Fraction
    margins: MarginParams
    maximum_calibration_error: Fraction
    slices: SliceLimitParams
    golden_tolerance: OpenFraction
