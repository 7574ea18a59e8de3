"""Typed reports of the shortcut audit: one of the dataset, and one per model."""

from enum import StrEnum

from pneumonia.audit.settings import CaliperParams
from pneumonia.core.estimate import Estimate
from pneumonia.core.model import FrozenModel

PARTS = ("development", "test")


class Outcome(StrEnum):
    """Outcome of a criterion or of the audit of a model."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class PredictorAuc(FrozenModel):
    """AUC of a predictor on one part of the dataset, and whether it raises the alarm."""

    auc: Estimate
    alarm: bool


class PredictorAudit(FrozenModel):
    """How well a predictor that does not use the lungs separates the classes.

    Attributes:
        can_alarm: False for quantities that also depend on the content of the image.
        higher_in: class with the higher values in development; the AUC is oriented accordingly.
        development: AUC on development, of classifiers out of fold.
        test: AUC on test.
    """

    can_alarm: bool
    higher_in: str
    development: PredictorAuc
    test: PredictorAuc

    def on(self, part: str) -> PredictorAuc:
        """Return the result on ``development`` or ``test``."""
        return {"development": self.development, "test": self.test}[part]


class DataAudit(FrozenModel):
    """Shortcuts that the dataset offers, reports/audit_data.json.

    Attributes:
        alarm: whether any predictor raises the alarm.
        limit: AUC beyond which, or below whose complement, an interval raises the alarm.
        border: width of the frame that the border predictor uses, as a share of the image's side.
        level: confidence level of each interval; together they hold at 95% (Bonferroni).
        images: images per part.
        patients: patients per part.
        predictors: by name.
    """

    alarm: bool
    limit: float
    border: float
    level: float
    images: dict[str, int]
    patients: dict[str, int]
    predictors: dict[str, PredictorAudit]


class MatchedAudit(FrozenModel):
    """AUC among pairs of a PNEUMONIA and a NORMAL image that match in one file property.

    Attributes:
        pairs: number of pairs.
        patients: patients per class in these pairs.
        auc: of the model; None with too few patients.
        property_auc: of the property itself, near 0.5 where the pairs are matched closely enough.
        outcome: of the criterion.
    """

    pairs: int
    patients: dict[str, int]
    auc: Estimate | None = None
    property_auc: Estimate | None = None
    outcome: Outcome


class CorrelationAudit(FrozenModel):
    """Rank correlation of score and file property within one class.

    Attributes:
        correlation: Spearman's; None where the property is constant.
        outcome: None where the property is reported without a criterion.
    """

    correlation: Estimate | None = None
    outcome: Outcome | None = None


class PerturbationAudit(FrozenModel):
    """Effect of a perturbation of the images.

    Attributes:
        mean_change: mean change of the probability.
        mean_absolute_change: mean absolute change of the probability.
        flipped: share of decisions that change.
        auc_change: change of the AUC.
        outcome: None where the perturbation is reported without a criterion.
    """

    mean_change: Estimate
    mean_absolute_change: Estimate
    flipped: Estimate
    auc_change: Estimate
    outcome: Outcome | None = None


class AuditLimits(FrozenModel):
    """Limits of the criteria; see `settings.AuditParams`."""

    calipers: CaliperParams
    minimum_patients: int
    minimum_matched_auc: float
    maximum_correlation: float
    maximum_change: float
    maximum_flipped: float
    maximum_auc_loss: float


class ModelAudit(FrozenModel):
    """Use of shortcuts by one model, reports/audit/<model>.json.

    Attributes:
        verdict: fail where a criterion fails, else inconclusive where one is, else pass.
        images: number of test images.
        patients: number of test patients.
        auc: of all images.
        matched: by file property.
        correlations: by class and file property.
        perturbations: by name; empty where only scores were audited.
        limits: that the criteria were checked against.
    """

    verdict: Outcome
    images: int
    patients: int
    auc: Estimate
    matched: dict[str, MatchedAudit]
    correlations: dict[str, dict[str, CorrelationAudit]]
    perturbations: dict[str, PerturbationAudit]
    limits: AuditLimits
