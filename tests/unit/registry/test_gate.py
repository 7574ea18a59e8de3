"""Each criterion of the gate, on evidence that passes except for one fault."""

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pneumonia.audit.audit_report import Outcome
from pneumonia.core import files, paths, settings
from pneumonia.core.errors import EvidenceError
from pneumonia.core.estimate import Estimate
from pneumonia.evaluation.evaluation_report import EvaluationReport
from pneumonia.registry import gate
from pneumonia.registry.gate import Criterion
from pneumonia.registry.promotion_evidence import Evidence, evidence_files
from pneumonia.registry.settings import PromoteParams
from tests.support.evidence import data_audit, model_audit
from tests.support.reports import Reports

POLICY = settings.read_section(Path(__file__).parents[3] / "operations.yaml", "promote", PromoteParams)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    Reports(models={"cnn": 5.0, "probe": 1.0}, images=320).write(root)
    return root / "reports"


@pytest.fixture
def good(reports: Path) -> Evidence:
    """Evidence that meets every criterion."""
    return Evidence.read(reports)


def changed(evidence: Evidence, *place: str, **values: Any) -> Evidence:
    """The evidence with other values at a place of the evaluation report on the test images."""
    content = evidence.evaluation.model_dump(mode="json")
    section = content["subsets"]["test"]
    for key in place:
        section = section[key]
    section.update(values)
    return replace(evidence, evaluation=EvaluationReport.model_validate(content))


def with_registration(evidence: Evidence, **values: str) -> Evidence:
    return replace(evidence, registration=evidence.registration.model_copy(update=values))


def figure(low: float | None, value: float = 0.95) -> Estimate:
    return Estimate(value, low, None if low is None else 1.0)


def failed(verdict: gate.Verdict) -> list[str]:
    return [criterion.name for criterion in verdict.failed]


def test_good_evidence_passes_without_a_champion_and_against_itself(good: Evidence) -> None:
    for champion in (None, good):
        verdict = gate.judge(good, champion, POLICY)
        assert (verdict.outcome, failed(verdict)) == (gate.PASSED, [])
    skipped = [c.name for c in gate.judge(good, None, POLICY).criteria if c.outcome == gate.SKIPPED]
    assert skipped == [
        "same data definition as the champion",
        "specificity less the champion's",
        "ROC AUC less the champion's",
    ]


@pytest.mark.parametrize(("low", "fails"), [(0.90, False), (0.899, True), (None, True)])
def test_sensitivity_is_checked_by_its_lower_end(good: Evidence, low: float | None, fails: bool) -> None:
    verdict = gate.judge(changed(good, "figures", sensitivity=figure(low)), None, POLICY)
    assert failed(verdict) == (["sensitivity"] if fails else [])
    if low is not None and fails:
        assert verdict.failed[0].shortfall == pytest.approx(0.001)


@pytest.mark.parametrize(("error", "fails"), [(0.10, False), (0.1001, True)])
def test_calibration_error_at_its_limit(good: Evidence, error: float, fails: bool) -> None:
    verdict = gate.judge(changed(good, "calibration", "after", ece=error), None, POLICY)
    assert failed(verdict) == (["expected calibration error"] if fails else [])


@pytest.mark.parametrize(
    ("name", "low", "fails"),
    [
        ("sensitivity", 0.80, False),
        ("sensitivity", 0.799, True),
        ("specificity", 0.60, False),
        ("specificity", 0.599, True),
    ],
)
def test_the_worst_slice_is_checked_by_its_lower_end(good: Evidence, name: str, low: float, fails: bool) -> None:
    evidence = changed(good, "slices", "size", "large", "figures", **{name: figure(low)})
    assert failed(gate.judge(evidence, None, POLICY)) == (
        [f"{name} in the worst slice (size: large)"] if fails else []
    )


def test_a_slice_without_the_metric_fails_and_one_with_too_few_patients_is_skipped(good: Evidence) -> None:
    undefined = changed(good, "slices", "size", "large", "figures", sensitivity=figure(None))
    assert failed(gate.judge(undefined, None, POLICY)) == ["sensitivity in the worst slice (size: large)"]
    small = changed(undefined, "slices", "size", "large", warning="too few patients")
    assert failed(gate.judge(small, None, POLICY)) == []


def test_without_any_slice_with_enough_patients_slices_are_skipped(good: Evidence) -> None:
    verdict = gate.judge(changed(good, slices={}), None, POLICY)
    assert verdict.outcome == gate.PASSED
    assert [c.outcome for c in verdict.criteria if c.name.endswith("in every slice")] == [gate.SKIPPED] * 2


def test_failed_audit_fails_one_criterion(good: Evidence) -> None:
    poor = replace(good, data_audit=data_audit(alarm=True), model_audit=model_audit(Outcome.FAIL))
    verdict = gate.judge(poor, None, POLICY)
    assert failed(verdict) == ["shortcut audit of the model"]
    assert "without using the lungs" in verdict.notes[0]


def test_other_data_than_the_champions_fails_one_criterion(good: Evidence) -> None:
    verdict = gate.judge(good, with_registration(good, data_hash="ff" * 32), POLICY)
    assert failed(verdict) == ["same data definition as the champion"]


def test_a_champion_with_other_test_images_cannot_be_compared(good: Evidence) -> None:
    fewer = good.predictions.drop(good.predictions.index[good.predictions["subset"] == "test"][0])
    verdict = gate.judge(good, replace(good, predictions=fewer), POLICY)
    assert failed(verdict) == ["specificity less the champion's", "ROC AUC less the champion's"]
    assert "319 in common" in verdict.failed[0].found


def test_worse_than_the_champion_fails_by_the_margin(reports: Path, good: Evidence) -> None:
    """A model that calls 10% more of the NORMAL test images PNEUMONIA, with the same ranking."""
    test = good.predictions.index[(good.predictions["subset"] == "test") & (good.predictions["label"] == "NORMAL")]
    worse = good.predictions.reset_index(drop=True)
    rows = worse.index[(worse["subset"] == "test") & (worse["label"] == "NORMAL")][: len(test) // 10]
    worse.loc[rows, "predicted"] = "PNEUMONIA"
    verdict = gate.judge(replace(good, predictions=worse), good, POLICY)
    assert failed(verdict) == ["specificity less the champion's"]
    assert verdict.failed[0].found.startswith("-0.100 (")
    assert verdict.failed[0].shortfall is not None
    wide = POLICY.model_copy(update={"margins": POLICY.margins.model_copy(update={"specificity": 0.2})})
    assert failed(gate.judge(replace(good, predictions=worse), good, wide)) == []
    assert failed(gate.judge(good, replace(good, predictions=worse), POLICY)) == [], "better is never refused"


def test_a_phantom_model_is_refused_in_every_mode_unless_it_is_one_by_name(good: Evidence) -> None:
    phantom = with_registration(good, source="phantom")
    for mode in ("enforce", "warn", "off"):
        verdict = gate.judge(phantom, None, POLICY.model_copy(update={"mode": mode}))
        assert (verdict.outcome, failed(verdict)) == (gate.REFUSED, ["trained on radiographs"])
    verdict = gate.judge(phantom, None, POLICY, phantoms_may_lead=True)
    assert verdict.outcome == gate.PASSED
    assert verdict.notes == ("trained on phantoms: its figures do not apply to patients",)


def test_modes_decide_what_a_failure_means(good: Evidence) -> None:
    poor = changed(good, "figures", sensitivity=figure(0.1))
    outcomes = {
        mode: gate.judge(poor, None, POLICY.model_copy(update={"mode": mode})).outcome
        for mode in ("enforce", "warn", "off")
    }
    assert outcomes == {"enforce": gate.REFUSED, "warn": gate.WARNED, "off": gate.PASSED}


@pytest.mark.parametrize("mode", ["enforce", "warn", "off"])
def test_a_broken_bundle_is_refused_in_every_mode(good: Evidence, mode: str) -> None:
    broken = Criterion("whole bundle", gate.FAIL, "another hash", "the registered one", always=True)
    verdict = gate.judge(good, None, POLICY.model_copy(update={"mode": mode}), integrity=[broken])
    assert verdict.outcome == gate.REFUSED


def test_the_verdict_is_written_with_what_failed_and_by_how_much(good: Evidence) -> None:
    verdict = gate.judge(changed(good, "figures", sensitivity=figure(0.85)), None, POLICY)
    text = gate.markdown(verdict)
    assert text.startswith("**Gate: refused** (mode `enforce`)\n")
    assert "- sensitivity: found 0.950 (0.850 to 1.000), expected lower end at least 0.900, short by 0.050\n" in text
    assert text.count("\n| ") == len(verdict.criteria) + 2
    content = verdict.to_json()
    assert (content["outcome"], content["criteria"]) == (
        "refused",
        [asdict(criterion) for criterion in verdict.criteria],
    )


@pytest.mark.parametrize("file", evidence_files("cnn"))
def test_missing_evidence_is_named(tmp_path: Path, file: Path) -> None:
    Reports(images=40).write(tmp_path)
    (tmp_path / "reports" / file).unlink()
    with pytest.raises(EvidenceError, match=re.escape(str(file))):
        Evidence.read(tmp_path / "reports")


def test_an_evaluation_of_another_bundle_is_no_evidence(tmp_path: Path) -> None:
    Reports(images=40).write(tmp_path)
    path = tmp_path / paths.EVALUATION_REPORTS / "cnn.json"
    report = files.read_json(path, EvaluationReport)
    files.write_json(path, report.model_copy(update={"bundle_sha256": "be" * 32}))
    with pytest.raises(EvidenceError, match="to be of the registered bundle"):
        Evidence.read(tmp_path / "reports")


def test_evidence_of_the_former_layout_is_refused_with_the_file(tmp_path: Path) -> None:
    Reports(images=40).write(tmp_path)
    (tmp_path / paths.REGISTRATION).write_text('{"model": "cnn", "source": "kermany", "data_hash": "d1"}')
    with pytest.raises(EvidenceError, match=r"registered\.json is not a Registration of this version"):
        Evidence.read(tmp_path / "reports")


def test_evidence_is_that_of_the_registered_model(reports: Path, good: Evidence) -> None:
    assert (good.model, good.registration.source, good.evaluation.model) == ("cnn", "kermany", "cnn")
    pd.testing.assert_frame_equal(good.predictions, pd.read_csv(reports / "predictions/cnn.csv"))
