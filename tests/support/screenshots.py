"""Screenshots of the page for the README: phantoms and the demo's model, no images of patients.

    python -m tests.support.screenshots demo/artifacts/models/cnn

writes docs/app-worklist.png (in the dark theme) and docs/app-study.png (in the light one).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright

from pneumonia.data import phantom
from pneumonia.serving.settings import AppSettings
from tests.support import live, readme

DOCS = readme.ROOT / "docs"
CAUSES = ("normal", "bacteria", "virus", "bacteria", "normal", "virus")
OPENED = "phantom-03.png"


def main(bundle: Path) -> None:
    """Serve a bundle, upload phantoms, and take the screenshots."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        live.serving(AppSettings(bundle=bundle, state=Path(scratch, "state"))) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=live.CHROMIUM, args=["--no-sandbox"])
        files = live.write(Path(scratch, "files"), _images())
        worklist = _upload(browser, url, files, "dark")
        worklist.screenshot(path=DOCS / "app-worklist.png")
        study = _upload(browser, url, files, "light")
        study.get_by_role("link", name=OPENED).click()
        expect(study.locator("#evidence")).to_be_visible()
        study.wait_for_load_state("networkidle")
        study.screenshot(path=DOCS / "app-study.png")


def _images() -> dict[str, bytes]:
    images = {}
    for seed, cause in enumerate(CAUSES, start=1):
        drawn = phantom.draw(np.random.default_rng(seed), cause, size=900, difficulty=0.3)
        images[f"phantom-{seed:02d}.png"] = live.png(drawn.pixels)
    return images | {"thumbnail.png": live.radiograph(1, size=60), "letter.dcm": b"not an image"}


def _upload(browser: Browser, url: str, files: list[Path], theme: str) -> Page:
    page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme=theme, locale="en-GB")
    page.goto(url)
    page.set_input_files("#files", files)
    expect(page.locator("#rows .badge")).to_have_count(len(files), timeout=60_000)
    page.wait_for_load_state("networkidle")
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]))
