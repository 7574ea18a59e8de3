from pneumonia.audit import shortcuts_page
from pneumonia.audit.audit_report import (
    AuditLimits,
    CorrelationAudit,
    DataAudit,
    MatchedAudit,
    ModelAudit,
    Outcome,
    PredictorAuc,
    PredictorAudit,
)
from pneumonia.core.estimate import Estimate
from tests.support.audit_params import AUDIT


def predictor(auc: float, alarm: bool) -> PredictorAudit:
    estimate = Estimate(auc, auc - 0.02, auc + 0.02)
    return PredictorAudit(
        can_alarm=True,
        higher_in="NORMAL",
        development=PredictorAuc(auc=estimate, alarm=alarm),
        test=PredictorAuc(auc=estimate, alarm=False),
    )


def data(alarm: bool) -> DataAudit:
    counts = {"development": 1200, "test": 200}
    predictors = {"width": predictor(0.9 if alarm else 0.5, alarm), "border": predictor(0.55, False)}
    return DataAudit(
        alarm=alarm, limit=0.64, border=0.05, level=0.99, images=counts, patients=counts, predictors=predictors
    )


AUC = Estimate(0.93, 0.9, 0.96)


def model(verdict: Outcome, auc: Estimate | None = AUC) -> ModelAudit:
    matched = MatchedAudit(
        pairs=1234, patients={"NORMAL": 30, "PNEUMONIA": 40}, auc=auc, property_auc=auc, outcome=verdict
    )
    constant = {"width": CorrelationAudit(outcome=Outcome.PASS)}
    return ModelAudit(
        verdict=verdict,
        images=200,
        patients=150,
        auc=AUC,
        matched={"width": matched},
        correlations={"NORMAL": constant, "PNEUMONIA": constant},
        perturbations={},
        limits=AuditLimits(**{name: getattr(AUDIT, name) for name in AuditLimits.model_fields}),
    )


def page(alarm: bool, audit: ModelAudit) -> str:
    return shortcuts_page.markdown(data(alarm), {"cnn": audit})


def test_summary_has_the_alarm_its_best_predictor_and_why_a_model_fails() -> None:
    result = page(True, model(Outcome.FAIL)).split("## Shortcuts in the data")[0]
    assert "data: ALARM" in result
    assert "on development 1 of 2, best image width with an AUC of 0.900 (0.880 to 0.920); on test none" in result
    assert "Failed: images matched by image width, AUC 0.930 (0.900 to 0.960)." in result
    assert "is not evidence of a good model" in result


def test_without_an_alarm_and_with_a_model_that_passes_there_is_no_warning() -> None:
    result = page(False, model(Outcome.PASS))
    assert "data: no alarm" in result
    assert "`cnn`: **pass**" in result
    assert "ALARM" not in result
    assert "fails" not in result.split("## Shortcuts in the data")[0].split("Interpretation")[1]


def test_too_few_matched_patients_are_inconclusive() -> None:
    result = page(True, model(Outcome.INCONCLUSIVE, auc=None))
    assert "Inconclusive: images matched by image width, 1234 pairs." in result
    assert "this is not a pass" in result
    assert "| image width | 1,234 | 30 / 40 | - | - | inconclusive (too few patients) |" in result


def test_every_limit_is_given() -> None:
    result = page(True, model(Outcome.PASS))
    for limit in ("0.64", "0.36", "0.85", "20 patients", "±0.50", "2% in image width", "0.05 on average", "0.02."):
        assert limit in result
