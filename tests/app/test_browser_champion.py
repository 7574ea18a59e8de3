"""What a reader sees when another version is promoted in a real registry, while images are being answered."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from pneumonia import config, tracking
from pneumonia.app.settings import Settings
from pneumonia.models import bundle as bundles
from pneumonia.registry import promotion, registration, versions
from pneumonia.tracking import RunDescription, Store
from tests import bright, evidence, readme
from tests.app import live

PARAMS = config.load(readme.ROOT / "params.yaml")
NAME = PARAMS.register_.name
POLICY = PARAMS.promote.model_copy(update={"mode": "off"})
DATA = bundles.DataLineage("kermany", "resized-224", "5e" * 32, {"test": {"NORMAL": 1, "PNEUMONIA": 3}})
SLOPES = {1: 0.02, 2: 0.001}
"""Version 1 calls the test's image PNEUMONIA, version 2 calls nearly everything NORMAL."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with two versions in its registry, the first of them the champion."""
    root = tmp_path_factory.mktemp("project")
    shutil.copyfile(readme.ROOT / "params.yaml", root / "params.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(sys, "path", list(sys.path))  # MLflow adds the code of each model that it loads
        store = tracking.open_store(root)
        for version, slope in SLOPES.items():
            with tracking.start_run(store, RunDescription("bright", "cnn", DATA, {"slope": slope}, None)) as run:
                folder = root / f"bundle-{version}"
                bundle = bright.write_bundle(folder, slope=slope, data=DATA, mlflow_run_id=run.run_id)
                run.log_bundle(bundle)
            reports = evidence.write(root / f"reports-{version}", bundle)
            made = registration.register(store, bundle, run.run_id, name=NAME, metrics={}, reports=reports)
            assert made == version
        promote(store, 1)
        yield root


@pytest.fixture
def page(project: Path, tmp_path: Path) -> Iterator[Page]:
    settings = Settings(project=project, state=tmp_path / "state", watch_seconds=0.5)
    with live.serving(settings) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=live.CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.goto(url)
        yield opened


def promote(store: Store, version: int) -> None:
    done = promotion.promote(store, NAME, POLICY, number=version, why="a test", dry_run=False)
    assert done.move is not None, done.verdict


def send(page: Page, folder: Path, batch: int) -> list[str]:
    """Send five images and return the words of their answers."""
    names = [f"{batch:02d}-{number}.png" for number in range(5)]
    page.set_input_files("#files", live.write(folder, {name: live.radiograph(3, 130) for name in names}))
    rows = [page.locator("#rows tr", has_text=name) for name in names]
    for row in rows:
        expect(row.locator(".badge")).to_be_visible(timeout=30_000)
    return [row.locator(".answer").inner_text() for row in rows]


def test_another_champion_takes_over_and_a_broken_one_does_not(page: Page, project: Path, tmp_path: Path) -> None:
    store = tracking.open_store(project)
    first = versions.champion(store, NAME)
    assert first is not None
    expect(page.locator("#version")).to_contain_text("version 1")
    assert all("Pneumonia" in answer and "version 1" in answer for answer in send(page, tmp_path, 0))

    promote(store, 2)
    answers: list[str] = []
    for batch in range(1, 40):
        answers += send(page, tmp_path, batch)
        if "version 2" in answers[-1]:
            break
    assert all("version 1" in answer or "version 2" in answer for answer in answers), "none failed meanwhile"
    assert "Normal" in answers[-1]
    assert "version 2" in answers[-1]
    expect(page.locator("#version")).to_contain_text("version 2")
    expect(page.locator("#announcer")).not_to_be_empty()

    page.get_by_role("link", name="00-0.png").click()
    expect(page.locator("#answer")).to_contain_text("version 1")
    expect(page.locator("#version")).to_contain_text("version 2")

    (first.bundle / bundles.MODEL_FILE).write_bytes(b"damaged")
    promotion.rollback(store, NAME, why="a test")
    page.wait_for_timeout(2000)
    page.reload()
    expect(page.locator("#model")).to_contain_text("A newer version should answer, but does not load")
    expect(page.locator("#version")).to_contain_text("version 2")
