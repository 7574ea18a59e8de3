"""The page while another version is promoted in a registry and images are uploaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from pneumonia.bundle import bundle as bundles
from pneumonia.registry import tracking, versions
from pneumonia.serving.settings import AppSettings
from tests.support import live
from tests.unit.serving.conftest import NAME
from tests.unit.serving.test_promoted_model import promote

pytestmark = pytest.mark.slow


@pytest.fixture
def page(registry_project: Path, tmp_path: Path) -> Iterator[Page]:
    settings = AppSettings(project=registry_project, state=tmp_path / "state", model_poll_seconds=0.5)
    with live.serving(settings) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=live.CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.goto(url)
        yield opened


def send(page: Page, folder: Path, batch: int) -> list[str]:
    """Upload five images and return the texts of their results."""
    names = [f"{batch:02d}-{number}.png" for number in range(5)]
    page.set_input_files("#files", live.write(folder, {name: live.radiograph(3, 130) for name in names}))
    rows = [page.locator("#rows tr", has_text=name) for name in names]
    for row in rows:
        expect(row.locator(".badge")).to_be_visible(timeout=30_000)
    return [row.locator(".answer").inner_text() for row in rows]


def test_promotion_replaces_the_model_and_a_damaged_bundle_does_not(
    page: Page, registry_project: Path, tmp_path: Path
) -> None:
    store = tracking.find_store(registry_project)
    assert store is not None
    first = versions.champion(store, NAME)
    assert first is not None
    expect(page.locator("#version")).to_contain_text("version 1")
    assert all("Pneumonia" in result and "version 1" in result for result in send(page, tmp_path, 0))

    promote(store, 2)
    results: list[str] = []
    for batch in range(1, 40):
        results += send(page, tmp_path, batch)
        if "version 2" in results[-1]:
            break
    assert all("version 1" in result or "version 2" in result for result in results), "none failed"
    assert "Normal" in results[-1]
    assert "version 2" in results[-1]
    expect(page.locator("#version")).to_contain_text("version 2")
    expect(page.locator("#announcer")).not_to_be_empty()

    page.get_by_role("link", name="00-0.png").click()
    expect(page.locator("#answer")).to_contain_text("version 1")
    expect(page.locator("#version")).to_contain_text("version 2")

    (first.bundle / bundles.MODEL_FILE).write_bytes(b"damaged")
    promote(store, 1)
    page.wait_for_timeout(2000)
    page.reload()
    expect(page.locator("#model")).to_contain_text("could not be loaded")
    expect(page.locator("#version")).to_contain_text("version 2")
