"""The page "Retrain?": what it advises where the truth is known, and how it looks in a real browser."""

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

from pneumonia.cli import main
from pneumonia.models import bundle as bundles
from pneumonia.monitoring.log import Log
from tests import bright
from tests.app import live
from tests.monitoring import logs
from tests.readme import ROOT

DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}
VALIDATION = {"sensitivity": 0.95, "specificity": 0.9, "roc_auc": 0.97}
DATA = bundles.DataLineage("phantom", "drawn", "5e" * 32, {"validation": {"NORMAL": 200, "PNEUMONIA": 300}})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    return bright.write_bundle(
        tmp_path_factory.mktemp("models") / "bright", slope=0.02, data=DATA, validation=VALIDATION
    )


@pytest.fixture
def report(model: bundles.Bundle, tmp_path: Path) -> Callable[..., tuple[Result, dict[str, Any]]]:
    """Log predictions, label the first of them, and report."""

    def make(targets: Sequence[int], shares: Sequence[float], labelled: int, drift: bool | None = None) -> Any:
        url = f"sqlite:///{tmp_path / 'log.db'}"
        log = Log(url)
        logs.fill(log, targets, shares, labelled=labelled, weights=model.card.model_sha256)
        log.close()
        told = tmp_path / "drift.json"
        if drift is not None:
            told.write_text(json.dumps(_drift(model, drift)))
        options = ["--log", url, "--bundle", str(model.folder), "--drift", str(told), "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(main, ["feedback", "report", *options])
        return done, json.loads((tmp_path / "out" / "retrain.json").read_text())

    return make


def _drift(model: bundles.Bundle, alert: bool) -> dict[str, Any]:
    times = {name: (logs.BEGAN + timedelta(days=day)).isoformat() for name, day in (("first", 1), ("last", 9))}
    changed = ["brightness", "sharpness"] if alert else []
    return {"alert": alert, "changed": changed, "images": 200, "bundle_sha256": model.card.model_sha256} | times


def test_nothing_to_do_where_the_model_is_as_good_as_it_was(report: Callable[..., Any]) -> None:
    done, said = report(*logs.drawn(600, 0.96, 0.91, seed=1), labelled=600, drift=False)
    assert (done.exit_code, said["advice"], said["worse"]) == (0, "nothing", [])
    assert sum(period["predictions"] for period in said["periods"]) == 600
    sensitivity = said["recent"]["figures"]["sensitivity"]
    assert sensitivity["low"] < 0.96 < sensitivity["high"]


def test_a_model_that_was_judged_is_held_against_its_test_set(
    model: bundles.Bundle, report: Callable[..., Any], tmp_path: Path
) -> None:
    """A specificity of 0.81 is a loss against validation (0.90), and none against the test set (0.85)."""
    judged = json.loads((ROOT / "release" / "reports" / "judgement.json").read_text())
    judged["operating_point"]["threshold"] = model.card.threshold
    file = model.folder / "reports" / "judgement.json"
    file.parent.mkdir()
    file.write_text(json.dumps(judged))
    try:
        done, said = report(*logs.drawn(1500, 0.96, 0.81, seed=4, scatter=0.02), labelled=1500)
    finally:
        shutil.rmtree(file.parent)
    assert (done.exit_code, said["advice"]) == (0, "nothing")
    assert (said["reference"]["origin"], said["reference"]["images"]) == ("the test set of bright", 624)
    assert said["reference"]["figures"]["specificity"] == judged["subsets"]["test"]["figures"]["specificity"]["value"]
    assert "the test set of bright, 624 images" in (tmp_path / "out" / "retrain.html").read_text()


def test_no_labels_are_plainly_said_to_be_missing(report: Callable[..., Any], tmp_path: Path) -> None:
    done, said = report(*logs.drawn(300, 0.96, 0.91, seed=1), labelled=0)
    assert (done.exit_code, said["advice"], said["recent"]["figures"]) == (0, "collect labels", {})
    assert said["periods"][0]["estimated"]["sensitivity"]["images"] == 300
    page = (tmp_path / "out" / "retrain.html").read_text()
    assert "Nobody can tell" in page
    assert "no drift report of this model" in page


def test_another_input_asks_for_labels_even_where_all_seems_well(report: Callable[..., Any]) -> None:
    done, said = report(*logs.drawn(600, 0.96, 0.91, seed=1), labelled=600, drift=True)
    assert (done.exit_code, said["advice"], said["drift"]["columns"]) == (
        0,
        "collect labels",
        ["brightness", "sharpness"],
    )


def test_a_threshold_that_no_longer_fits_is_told_from_a_model_that_no_longer_ranks(report: Callable[..., Any]) -> None:
    done, said = report(*logs.drawn(600, 0.75, 0.98, seed=2, scatter=0.02), labelled=600)
    assert (done.exit_code, said["advice"], said["worse"]) == (2, "recalibrate", ["sensitivity"])


def test_a_model_that_ranks_worse_is_to_be_trained_again(report: Callable[..., Any]) -> None:
    done, said = report(*logs.drawn(600, 0.75, 0.7, seed=2, scatter=0.5), labelled=600)
    assert (done.exit_code, said["advice"], said["worse"]) == (2, "retrain", ["sensitivity", "specificity"])
    assert said["evidence"]["sensitivity"]["alarm_after"] < said["evidence"]["sensitivity"]["cases"]


def test_a_bad_time_that_is_over_is_told_as_such(report: Callable[..., Any], tmp_path: Path) -> None:
    bad, good = logs.drawn(300, 0.6, 0.98, seed=2, scatter=0.02), logs.drawn(2000, 1.0, 0.98, seed=3, scatter=0.02)
    targets, shares = ([*first, *then] for first, then in zip(bad, good, strict=True))
    done, said = report(targets, shares, labelled=len(targets))
    assert (done.exit_code, said["worse"]) == (2, ["sensitivity"]), "an alarm stays"
    page = (tmp_path / "out" / "retrain.html").read_text()
    assert "It was: sensitivity" in page
    assert "no longer bear" in page


def test_labels_that_come_later_show_how_far_off_the_estimate_was(report: Callable[..., Any]) -> None:
    """The model misses half of the ill with a firm probability: no estimate can see that, labels do."""
    _, said = report(*logs.drawn(400, 0.5, 0.95, seed=3, scatter=0.5), labelled=400)
    assert all(period["missed_by"]["sensitivity"] > 0.05 for period in said["periods"])


def test_a_log_without_the_model_and_a_report_of_another_one_are_refused(
    model: bundles.Bundle, report: Callable[..., Any], tmp_path: Path
) -> None:
    report(*logs.drawn(50, 0.9, 0.9, seed=1), labelled=50)
    (tmp_path / "other.json").write_text(json.dumps(_drift(model, True) | {"bundle_sha256": "0" * 64}))
    run, log = CliRunner().invoke, f"sqlite:///{tmp_path / 'log.db'}"
    options = ["feedback", "report", "--log", log, "--out", str(tmp_path / "none")]
    other = run(main, [*options, "--bundle", str(model.folder), "--drift", str(tmp_path / "other.json")])
    assert (other.exit_code, "is about the model 000000000000" in other.output) == (1, True)
    unknown = run(main, [*options, "--bundle", str(ROOT / "release")])
    assert (unknown.exit_code, "the log holds no prediction of the model" in unknown.output) == (1, True)
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=live.CHROMIUM, args=["--no-sandbox"])


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
def test_the_page_reads_offline_in_every_light(
    report: Callable[..., Any], browser: Browser, tmp_path: Path, viewport: Any, scheme: Any
) -> None:
    report(*logs.drawn(900, 0.8, 0.75, seed=2, scatter=0.5), labelled=700, drift=True)
    page = browser.new_page(viewport=viewport, color_scheme=scheme)
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: complaints.append(said.text))
    page.goto((tmp_path / "out" / "retrain.html").as_uri())
    expect(page.locator("#advice")).to_have_text("Retrain with reviewed images.")
    expect(page.locator("svg .measured circle")).to_have_count(8)
    expect(page.locator("svg .estimated circle")).to_have_count(8)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert [violation["id"] for violation in Axe().run(page).response["violations"]] == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    page.screenshot(path=tmp_path / f"retrain-{scheme}-{viewport['width']}.png", full_page=True)
    page.close()
