"""`pneumonia monitor` on a log and a reference profile, and its pages in an offline browser."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import Page, sync_playwright
from prometheus_client.parser import text_string_to_metric_families

from pneumonia.cli.main import main
from pneumonia.monitoring import trend
from pneumonia.monitoring.drift_report import DriftReport
from pneumonia.monitoring.log import Log
from pneumonia.monitoring.mlflow_report import EXPERIMENT
from pneumonia.registry import tracking
from tests.support import mlflow_store
from tests.support.live import CHROMIUM
from tests.support.records import draw, reference

BRIGHT, IMAGES = "2026-03-02", 300
"""Second day of the log, whose images are brighter, and predictions per day."""


class Project:
    """A folder with a log of two days, a reference profile, and the reports of both days."""

    def __init__(self, folder: Path, migrated_store: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        rng = np.random.default_rng(4)
        reference(rng, 400).assign(model="bright", bundle_sha256="ab" * 32).to_parquet(folder / "profile.parquet")
        log = Log(f"sqlite:///{folder / 'log.db'}")
        log.add([draw(rng, number, version=None) for number in range(IMAGES)])
        log.add([draw(rng, 1440 + number, version=None, brightness=200.0) for number in range(IMAGES)])
        log.close()
        tracking.open_store(mlflow_store.copy(migrated_store, folder))
        self.quiet = self.run("--until", BRIGHT)
        self.quiet_report = json.loads((self.out / "report.json").read_text())
        self.bright = self.run("--since", BRIGHT, "--prometheus", str(folder / "gauges.prom"))
        self.bright_report = json.loads((self.out / "report.json").read_text())

    def run(self, *options: str) -> Result:
        common = ["--log", f"sqlite:///{self.folder / 'log.db'}", "--reference", str(self.folder / "profile.parquet")]
        return CliRunner().invoke(main, ["monitor", *common, "--out", str(self.out), *options])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("project")
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Project(folder, migrated_store)


def test_exit_status_and_summary_show_an_alert(project: Project) -> None:
    assert project.quiet.exit_code == 0, project.quiet.output
    assert "no drift: 300 predictions of bright" in project.quiet.output
    assert project.bright.exit_code == 2, project.bright.output
    assert "ALERT" in project.bright.output
    assert "brightness" in project.bright.output


def test_json_report_has_window_alert_and_columns(project: Project) -> None:
    quiet, bright = project.quiet_report, project.bright_report
    assert (quiet["alert"], quiet["changed"], quiet["images"], quiet["reference_images"]) == (False, [], 300, 400)
    assert quiet["first"].startswith("2026-03-01T12:00:00")
    assert bright["alert"]
    assert bright["changed"] == ["brightness"]
    assert bright["columns"][0]["column"] == "brightness"
    assert bright["window"]["means"]["brightness"] == 200
    assert quiet["window"]["rates"]["answered"] == 1
    assert quiet["window"]["missing"]["maker"] == 1


def test_gauges_are_in_prometheus_format(project: Project) -> None:
    families = {
        family.name: family for family in text_string_to_metric_families((project.folder / "gauges.prom").read_text())
    }
    assert families["pneumonia_monitor_alert"].samples[0].value == 1
    assert families["pneumonia_monitor_alert"].samples[0].labels["model"] == "bright"
    p_values = {sample.labels["column"]: sample.value for sample in families["pneumonia_monitor_p_value"].samples}
    assert p_values["brightness"] < 0.01 < p_values["sharpness"]


def test_each_report_is_an_mlflow_run(project: Project) -> None:
    store = tracking.open_store(project.folder)
    experiment = store.client.get_experiment_by_name(EXPERIMENT)
    runs = store.client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    assert [run.data.tags["alert"] for run in runs] == ["false", "true"]
    assert runs[1].data.tags["changed"] == "brightness"
    assert runs[1].data.metrics["distance/brightness"] > 0.5
    assert {file.path for file in store.client.list_artifacts(runs[0].info.run_id, "report")} == {
        "report/report.html",
        "report/report.json",
    }


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(offline=True)
        yield context.new_page()
        browser.close()


def open_page(page: Page, file: Path) -> tuple[str, list[str]]:
    """Return the text of a page, and its errors and network requests."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    page.goto(file.as_uri())
    page.wait_for_load_state("networkidle")
    return page.inner_text("body"), errors


@pytest.mark.slow
def test_report_opens_offline_with_changed_columns_first(project: Project, page: Page) -> None:
    page.goto((project.out / "report.html").as_uri())
    page.get_by_text("Drift is detected for").wait_for()
    text, errors = open_page(page, project.out / "report.html")
    assert not errors
    assert "ALERT: 300 predictions of bright" in text
    assert "Plots: 300 of 300 predictions" in text
    page.get_by_text("Not Detected").first.wait_for()
    text = page.inner_text("body")
    assert text.index("brightness", text.index("Drift is detected")) < text.index("Not Detected")


@pytest.mark.slow
def test_trend_page_opens_offline_with_each_window(project: Project, page: Page, tmp_path: Path) -> None:
    quiet, bright = map(DriftReport.model_validate, (project.quiet_report, project.bright_report))
    reports = [bright.model_copy(update={"last": datetime(2026, 3, day, tzinfo=UTC)}) for day in (4, 3, 5)]
    other = quiet.model_copy(update={"bundle_sha256": "cd" * 32})
    for report in (other, *reports, quiet, reports[0]):
        points = trend.append(report, tmp_path)
    assert [point.last.day for point in points] == [1, 3, 4, 5]
    trend.write_page(points, tmp_path / trend.PAGE)
    text, errors = open_page(page, tmp_path / trend.PAGE)
    assert not errors
    assert text.count("alert\tbrightness") == 3
    assert text.count("no drift") == 1
    assert page.locator("svg").bounding_box()


def test_missing_predictions_and_profile_are_reported(project: Project, tmp_path: Path) -> None:
    assert project.run("--since", "2030-01-01").exit_code == 1
    assert "bright (600)" in project.run("--since", "2030-01-01").output
    lost = CliRunner().invoke(main, ["monitor", "--reference", str(tmp_path / "none.parquet")])
    assert lost.exit_code == 1
    assert "dvc repro profile" in lost.output
