"""`pneumonia monitor` on a log and a profile, and its pages in Debian's Chromium without a network."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import Page, sync_playwright
from prometheus_client.parser import text_string_to_metric_families

from pneumonia import tracking
from pneumonia.cli import main
from pneumonia.monitoring import trend
from pneumonia.monitoring.log import Log
from pneumonia.monitoring.publication import EXPERIMENT
from tests.app.live import CHROMIUM
from tests.monitoring.records import draw, reference

QUIET, BRIGHT, IMAGES = "2026-03-01", "2026-03-02", 300
"""Days of the log, and predictions a day."""


class Project:
    """A folder with a log of two days and a profile, and the two reports."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        rng = np.random.default_rng(4)
        reference(rng, 400).assign(model="bright", bundle_sha256="ab" * 32).to_parquet(folder / "profile.parquet")
        log = Log(f"sqlite:///{folder / 'log.db'}")
        log.add([draw(rng, number, version=None) for number in range(IMAGES)])
        log.add([draw(rng, 1440 + number, version=None, brightness=200.0) for number in range(IMAGES)])
        log.close()
        tracking.open_store(folder)
        self.quiet = self.run("--until", BRIGHT)
        self.quiet_report = json.loads((self.out / "report.json").read_text())
        self.bright = self.run("--since", BRIGHT, "--prometheus", str(folder / "gauges.prom"))
        self.bright_report = json.loads((self.out / "report.json").read_text())

    def run(self, *options: str) -> Result:
        known = ["--log", f"sqlite:///{self.folder / 'log.db'}", "--reference", str(self.folder / "profile.parquet")]
        return CliRunner().invoke(main, ["monitor", *known, "--out", str(self.out), *options])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("project")
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Project(folder)


def test_exit_status_and_words_tell_quiet_from_changed(project: Project) -> None:
    assert project.quiet.exit_code == 0, project.quiet.output
    assert "quiet: 300 predictions of bright" in project.quiet.output
    assert project.bright.exit_code == 2, project.bright.output
    assert "ALERT" in project.bright.output
    assert "brightness" in project.bright.output


def test_what_machines_read_has_the_window_the_verdict_and_every_column(project: Project) -> None:
    quiet, bright = project.quiet_report, project.bright_report
    assert (quiet["alert"], quiet["changed"], quiet["images"], quiet["reference_images"]) == (False, [], 300, 400)
    assert quiet["first"].startswith("2026-03-01T12:00:00")
    assert bright["alert"]
    assert bright["changed"] == ["brightness"]
    assert bright["columns"][0]["column"] == "brightness"
    assert bright["window"]["means"]["brightness"] == 200
    assert quiet["window"]["rates"]["answered"] == 1
    assert quiet["window"]["missing"]["maker"] == 1


def test_gauges_are_what_prometheus_reads(project: Project) -> None:
    families = {
        family.name: family for family in text_string_to_metric_families((project.folder / "gauges.prom").read_text())
    }
    assert families["pneumonia_monitor_alert"].samples[0].value == 1
    assert families["pneumonia_monitor_alert"].samples[0].labels["model"] == "bright"
    p_values = {sample.labels["column"]: sample.value for sample in families["pneumonia_monitor_p_value"].samples}
    assert p_values["brightness"] < 0.01 < p_values["sharpness"]


def test_each_report_is_a_run_in_mlflow(project: Project) -> None:
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


def look(page: Page, file: Path) -> tuple[str, list[str]]:
    """Return what a page says, and what went wrong or left it."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
    page.goto(file.as_uri())
    page.wait_for_load_state("networkidle")
    return page.inner_text("body"), faults


def test_the_report_opens_offline_and_shows_what_changed_first(project: Project, page: Page) -> None:
    page.goto((project.out / "report.html").as_uri())
    page.get_by_text("Drift is detected for").wait_for()
    said, faults = look(page, project.out / "report.html")
    assert not faults
    assert "ALERT: 300 predictions of bright" in said
    assert "Pictures: 300 of 300 predictions" in said
    page.get_by_text("Not Detected").first.wait_for()
    said = page.inner_text("body")
    assert said.index("brightness", said.index("Drift is detected")) < said.index("Not Detected")


def test_the_trend_opens_offline_with_every_window(project: Project, page: Page, tmp_path: Path) -> None:
    reports = [project.bright_report | {"last": f"2026-03-0{day}T00:00:00+00:00"} for day in (4, 3, 5)]
    other = project.quiet_report | {"bundle_sha256": "cd" * 32}
    for report in (other, *reports, project.quiet_report, reports[0]):
        lines = trend.note(report, tmp_path)
    assert [line["last"][:10] for line in lines] == ["2026-03-01", "2026-03-03", "2026-03-04", "2026-03-05"]
    trend.write(lines, tmp_path / trend.PAGE)
    said, faults = look(page, tmp_path / trend.PAGE)
    assert not faults
    assert said.count("alert\tbrightness") == 3
    assert said.count("quiet") == 1
    assert page.locator("svg").bounding_box()


def test_what_is_missing_is_said_in_one_line(project: Project, tmp_path: Path) -> None:
    assert project.run("--since", "2030-01-01").exit_code == 1
    assert "bright (600)" in project.run("--since", "2030-01-01").output
    lost = CliRunner().invoke(main, ["monitor", "--reference", str(tmp_path / "none.parquet")])
    assert lost.exit_code == 1
    assert "dvc repro monitor" in lost.output
