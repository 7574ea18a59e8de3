from typing import Any

from pneumonia.evaluation import shortcuts_report
from tests.evaluation.audit_params import AUDIT


def witness(auc: float, alarm: bool) -> dict[str, Any]:
    figure = {"auc": auc, "low": auc - 0.02, "high": auc + 0.02, "alarm": alarm}
    return {"can_alarm": True, "higher_in": "NORMAL", "development": figure, "test": figure | {"alarm": False}}


def data(alarm: bool) -> dict[str, Any]:
    counts = {"development": 1200, "test": 200}
    witnesses = {"width": witness(0.9 if alarm else 0.5, alarm), "border": witness(0.55, False)}
    return {"alarm": alarm, "limit": 0.64, "level": 0.99, "images": counts, "patients": counts, "witnesses": witnesses}


def model(verdict: str, **matched: Any) -> dict[str, Any]:
    figure = {"value": 0.93, "low": 0.9, "high": 0.96}
    alike = {"pairs": 1234, "patients": {"NORMAL": 30, "PNEUMONIA": 40}, "auc": figure, "fact_auc": figure}
    return {
        "images": 200,
        "patients": 150,
        "auc": figure,
        "matched": {"width": alike | {"outcome": verdict} | matched},
        "follows": {"NORMAL": {"width": {"outcome": "pass"}}, "PNEUMONIA": {"width": {"outcome": "pass"}}},
        "verdict": verdict,
    }


def page(alarm: bool, models: dict[str, Any]) -> str:
    return shortcuts_report.markdown(shortcuts_report.assemble(data(alarm), models, AUDIT))


def test_summary_names_the_alarm_its_best_witness_and_why_a_model_fails() -> None:
    found = page(True, {"cnn": model("fail")}).split("## What the data allows")[0]
    assert "data: ALARM" in found
    assert "on development 1 of 2, best image width with an AUC of 0.900 (0.880 to 0.920); on test none" in found
    assert "It fails on images alike in image width, AUC 0.930 (0.900 to 0.960)." in found
    assert "no proof of skill" in found


def test_sound_data_and_a_model_that_passes_are_told_without_a_warning() -> None:
    found = page(False, {"cnn": model("pass")})
    assert "data: no alarm" in found
    assert "`cnn`: **pass**" in found
    assert "ALARM" not in found
    assert "fails" not in found.split("## What the data allows")[0].split("What it means")[1]


def test_too_few_pairs_are_no_pass() -> None:
    unknown = model("cannot tell")
    del unknown["matched"]["width"]["auc"], unknown["matched"]["width"]["fact_auc"]
    found = page(True, {"cnn": unknown})
    assert "It cannot be told for images alike in image width, 1234 pairs." in found
    assert "| image width | 1,234 | 30 / 40 | - | - | too few pairs to say |" in found


def test_every_limit_is_told() -> None:
    found = page(True, {"cnn": model("pass")})
    for limit in ("0.64", "0.36", "0.85", "20 patients", "±0.50", "2% in image width", "0.05 in the mean", "0.02."):
        assert limit in found
