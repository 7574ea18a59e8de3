"""Settings of monitoring and of delayed labels (operations.yaml)."""

from pydantic import NonNegativeInt, PositiveInt

from pneumonia.core.settings import OpenFraction, Section


class MonitorParams(Section):
    """Settings of drift detection.

    Attributes:
        window: default number of predictions, the most recent ones.
        minimum_images: smallest number of predictions for a report.
        false_alarm_rate: significance level of a whole report.
        resamples: number of bootstrap draws from the reference profile.
        seed: seed of the draws.
    """

    window: PositiveInt
    minimum_images: PositiveInt
    false_alarm_rate: OpenFraction
    resamples: PositiveInt
    seed: NonNegativeInt


class ToleratedLossParams(Section):
    """Largest tolerated loss of each metric against its value before deployment, as an absolute difference."""

    sensitivity: OpenFraction
    specificity: OpenFraction
    roc_auc: OpenFraction


class FeedbackParams(Section):
    """Settings of the evaluation on delayed labels.

    Attributes:
        periods: largest number of periods that the predictions of a model are divided into.
        period_size: smallest number of predictions in a period.
        recent: number of the most recent labels that current metrics are computed from.
        minimum_labels: smallest number of labels of each class before no action can be recommended.
        tolerated_loss: loss that does not count as a deterioration.
        false_alarm_rate: probability that a model without deterioration ever raises an alarm.
    """

    periods: PositiveInt
    period_size: PositiveInt
    recent: PositiveInt
    minimum_labels: PositiveInt
    tolerated_loss: ToleratedLossParams
    false_alarm_rate: OpenFraction
