"""Typed report of the stage *compare*: which model is selected, and how the others differ from it."""

from pneumonia.core.estimate import Estimate
from pneumonia.core.model import FrozenModel


class Selection(FrozenModel):
    """The rule that selects a model: the highest value of a metric on a subset."""

    metric: str
    subset: str


class AucTest(FrozenModel):
    """DeLong's test of equal AUC: the difference with its interval, and the two-sided p value or None if undefined."""

    difference: Estimate
    p: float | None


class McNemarTest(FrozenModel):
    """McNemar's exact test of equal accuracy.

    Attributes:
        first_alone_right: images that only the first model classifies correctly.
        second_alone_right: images that only the second model classifies correctly.
        p: two-sided p value.
    """

    first_alone_right: int
    second_alone_right: int
    p: float


class PairedComparison(FrozenModel):
    """Comparison of two models on the same images, first less second.

    Attributes:
        differences: of ``roc_auc``, ``accuracy``, ``sensitivity`` and ``specificity``, with intervals from the same
            resamples of patients.
        delong: test of equal AUC.
        mcnemar: test of equal accuracy.
    """

    differences: dict[str, Estimate]
    delong: AucTest
    mcnemar: McNemarTest


class ComparisonReport(FrozenModel):
    """Comparison of all models with one of them, reports/comparison.json.

    Attributes:
        reference: the model that the others are compared with: the selected one, or, for the release, the challenger.
        selected_by: the rule that selected the reference; None where it was not selected here.
        models: by model other than the reference, and by subset: model less reference.
    """

    reference: str
    selected_by: Selection | None
    models: dict[str, dict[str, PairedComparison]]
