"""Settings of the shortcut audit."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from pneumonia.core.settings import Fraction, Section


class CaliperParams(Section):
    """Largest relative difference of two images that are matched by a property."""

    width: PositiveFloat
    aspect: PositiveFloat
    jpeg_quality: PositiveFloat


class AuditParams(Section):
    """Settings and limits of the shortcut audits of the data and of the models.

    Attributes:
        border: width of the outermost frame as a share of the image, narrow enough to exclude the lungs.
        data_limit: AUC of a predictor without the lungs; an interval above it, or below its complement, raises the
            alarm.
        calipers: largest differences of matched images.
        minimum_patients: of either class, for a verdict on matched images or on a class.
        minimum_matched_auc: of a model among matched images; applies to the lower end of the interval.
        maximum_correlation: of the score with a property within a class; applies to the end further from 0.
        maximum_change: mean absolute change of the probability under a mild perturbation; applies to the upper end.
        maximum_flipped: share of decisions that a mild perturbation changes; applies to the upper end.
        maximum_auc_loss: decrease of the AUC by a mild perturbation; applies to the lower end of the change.
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
