"""Retraining report: recommended action for models of known performance, and its page in a browser."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from click.testing import CliRunner, Result
from playwright.sync_api import Browser, expect, sync_playwright

from pneumonia.bundle import bundle as bundles
from pneumonia.cli.main import main
from pneumonia.core import files
from pneumonia.evaluation.evaluation_report import EvaluationReport
from pneumonia.monitoring.drift_report import DriftReport, Rates, SampleStatistics, WindowStatistics
from pneumonia.monitoring.log import Log
from pneumonia.registry.promotion_evidence import evidence_files
from pneumonia.registry.resolve import RELEASE_EVALUATION
from tests.support import bright, evidence, live, logs

DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}
VALIDATION = {"sensitivity": 0.95, "specificity": 0.9, "roc_auc": 0.97}
GAIN = 1.5
"""Mean distance of a logit from the threshold, for a sensitivity and specificity of 0.85 in an evaluation."""
DATA = bundles.DataLineage("phantom", "drawn", "5e" * 32, {"validation": {"NORMAL": 200, "PNEUMONIA": 300}})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    return bright.write_bundle(
        tmp_path_factory.mktemp("models") / "bright", slope=0.02, data=DATA, validation=VALIDATION
    )


@pytest.fixture
def report(model: bundles.Bundle, tmp_path: Path) -> Callable[..., tuple[Result, dict[str, Any]]]:
    """Log predictions, label the first of them, and run `pneumonia feedback report`."""

    def make(targets: Sequence[int], probabilities: Sequence[float], labelled: int, drift: bool | None = None) -> Any:
        url = f"sqlite:///{tmp_path / 'log.db'}"
        log = Log(url)
        logs.fill(log, targets, probabilities, labelled=labelled, weights=model.card.sha256)
        log.close()
        drift_file = tmp_path / "drift.json"
        if drift is not None:
            files.write_json(drift_file, _drift(model.card.sha256, drift))
        options = ["--log", url, "--bundle", str(model.folder), "--drift", str(drift_file)]
        options += ["--out", str(tmp_path / "out")]
        result = CliRunner().invoke(main, ["feedback", "report", *options])
        return result, json.loads((tmp_path / "out" / "retrain.json").read_text())

    return make


def _drift(bundle_sha256: str, alert: bool) -> DriftReport:
    statistics = SampleStatistics(
        rates=Rates(answered=1, refused=0, unreadable=0, positive=0.5, indeterminate=0), means={}, missing={}
    )
    return DriftReport(
        model="bright",
        version=None,
        bundle_sha256=bundle_sha256,
        first=logs.START + timedelta(days=1),
        last=logs.START + timedelta(days=9),
        images=200,
        reference_images=400,
        false_alarm_rate=0.01,
        alert=alert,
        changed=("brightness", "sharpness") if alert else (),
        columns=(),
        window=WindowStatistics(**dict(statistics), latency_ms=None),
        reference=statistics,
    )


def test_no_action_without_a_loss(report: Callable[..., Any]) -> None:
    result, content = report(*logs.drawn(600, 0.96, 0.91, seed=1), labelled=600, drift=False)
    assert (result.exit_code, content["action"], content["deteriorated"]) == (0, "nothing", [])
    assert sum(period["predictions"] for period in content["periods"]) == 600
    sensitivity = content["recent"]["sensitivity"]
    assert sensitivity["low"] < 0.96 < sensitivity["high"]


def test_model_with_an_evaluation_is_compared_with_its_test_set(
    model: bundles.Bundle, report: Callable[..., Any], tmp_path: Path
) -> None:
    """A specificity of 0.81 is a loss compared with validation (0.90), but not with the test set (0.85)."""
    evidence.write(tmp_path / "reports", model, gain=GAIN, images=2000)
    written = tmp_path / "reports" / evidence_files(model.card.name).evaluation
    specificity = files.read_json(written, EvaluationReport).subsets["test"].figures["specificity"].value
    assert specificity == pytest.approx(0.85, abs=0.02)
    in_bundle = model.folder / RELEASE_EVALUATION
    in_bundle.parent.mkdir()
    try:
        shutil.copyfile(written, in_bundle)
        result, content = report(*logs.drawn(1500, 0.96, 0.81, seed=4, scatter=0.02), labelled=1500)
    finally:
        shutil.rmtree(in_bundle.parent)
    assert (result.exit_code, content["action"]) == (0, "nothing")
    assert (content["baseline"]["origin"], content["baseline"]["images"]) == ("the test set of bright", 2000)
    assert content["baseline"]["metrics"]["specificity"] == specificity
    assert "the test set of bright, 2,000 images" in (tmp_path / "out" / "retrain.html").read_text()


def test_page_without_labels_shows_that_performance_is_unknown(report: Callable[..., Any], tmp_path: Path) -> None:
    result, content = report(*logs.drawn(300, 0.96, 0.91, seed=1), labelled=0)
    assert (result.exit_code, content["action"], content["recent"]) == (0, "collect labels", {})
    assert content["periods"][0]["estimated"]["sensitivity"]["images"] == 300
    page = (tmp_path / "out" / "retrain.html").read_text()
    assert "Unknown" in page
    assert "no drift report of this model" in page


def test_drift_recommends_labels_even_without_a_loss(report: Callable[..., Any]) -> None:
    result, content = report(*logs.drawn(600, 0.96, 0.91, seed=1), labelled=600, drift=True)
    assert (result.exit_code, content["action"], content["drift"]["changed"]) == (
        0,
        "collect labels",
        ["brightness", "sharpness"],
    )


def test_loss_with_the_same_auc_recommends_recalibration(report: Callable[..., Any]) -> None:
    result, content = report(*logs.drawn(600, 0.75, 0.98, seed=2, scatter=0.02), labelled=600)
    assert (result.exit_code, content["action"], content["deteriorated"]) == (2, "recalibrate", ["sensitivity"])


def test_loss_of_auc_recommends_retraining(report: Callable[..., Any]) -> None:
    result, content = report(*logs.drawn(600, 0.75, 0.7, seed=2, scatter=0.5), labelled=600)
    assert (result.exit_code, content["action"], content["deteriorated"]) == (
        2,
        "retrain",
        ["sensitivity", "specificity"],
    )
    assert content["tests"]["sensitivity"]["alarm_after"] < content["tests"]["sensitivity"]["cases"]


def test_loss_that_is_over_is_reported_as_recovered(report: Callable[..., Any], tmp_path: Path) -> None:
    before, after = logs.drawn(300, 0.6, 0.98, seed=2, scatter=0.02), logs.drawn(2000, 1.0, 0.98, seed=3, scatter=0.02)
    targets, probabilities = ([*first, *then] for first, then in zip(before, after, strict=True))
    result, content = report(targets, probabilities, labelled=len(targets))
    assert (result.exit_code, content["deteriorated"]) == (2, ["sensitivity"]), "an alarm stays"
    page = (tmp_path / "out" / "retrain.html").read_text()
    assert "Earlier, but no longer: sensitivity" in page
    assert "no longer support" in page


def test_delayed_labels_show_the_error_of_the_estimate(report: Callable[..., Any]) -> None:
    """The model misses half of the pneumonia cases with confident probabilities: only labels can show that."""
    _, content = report(*logs.drawn(400, 0.5, 0.95, seed=3, scatter=0.5), labelled=400)
    assert all(period["estimation_error"]["sensitivity"] > 0.05 for period in content["periods"])


def test_log_without_the_model_and_drift_report_of_another_model_are_refused(
    model: bundles.Bundle, report: Callable[..., Any], tmp_path: Path
) -> None:
    report(*logs.drawn(50, 0.9, 0.9, seed=1), labelled=50)
    files.write_json(tmp_path / "other.json", _drift("0" * 64, True))
    run, log = CliRunner().invoke, f"sqlite:///{tmp_path / 'log.db'}"
    options = ["feedback", "report", "--log", log, "--out", str(tmp_path / "none")]
    other = run(main, [*options, "--bundle", str(model.folder), "--drift", str(tmp_path / "other.json")])
    assert (other.exit_code, "found one of 000000000000" in other.output) == (1, True)
    never_used = bright.write_bundle(tmp_path / "never-used", slope=0.03, data=DATA, validation=VALIDATION)
    unknown = run(main, [*options, "--bundle", str(never_used.folder)])
    assert (unknown.exit_code, "the log holds no prediction of the model" in unknown.output) == (1, True)
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=live.CHROMIUM, args=["--no-sandbox"])


@pytest.mark.slow
@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
def test_page_works_offline_in_light_and_dark_mode(
    report: Callable[..., Any], browser: Browser, tmp_path: Path, viewport: Any, scheme: Any
) -> None:
    report(*logs.drawn(900, 0.8, 0.75, seed=2, scatter=0.5), labelled=700, drift=True)
    page = browser.new_page(viewport=viewport, color_scheme=scheme)
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.goto((tmp_path / "out" / "retrain.html").as_uri())
    expect(page.locator("#advice")).to_have_text("Retrain with reviewed images.")
    expect(page.locator("svg .measured circle")).to_have_count(8)
    expect(page.locator("svg .estimated circle")).to_have_count(8)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert [violation["id"] for violation in Axe().run(page).response["violations"]] == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert messages == []
    page.screenshot(path=tmp_path / f"retrain-{scheme}-{viewport['width']}.png", full_page=True)
    page.close()
