"""The page of `dvc plots show`: complete in itself, and drawn by a browser that has no network."""

import json
from pathlib import Path

import pytest
from dvc.config import Config
from dvc_render.html import render_html
from dvc_render.vega import VegaRenderer
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
PAGE = ROOT / ".dvc/plots/page.html"
POINTS = [
    {"false_positive_rate": x / 10, "true_positive_rate": (x / 10) ** 0.5, "rev": "workspace"} for x in range(11)
]


def test_dvc_uses_the_page() -> None:
    config = Config(dvc_dir=str(ROOT / ".dvc")).load_one("repo")

    assert ROOT / ".dvc" / config["plots"]["html_template"] == PAGE


def test_the_page_was_built_from_the_pinned_packages() -> None:
    pinned = json.loads((ROOT / ".dvc/plots/package.json").read_text(encoding="utf-8"))["dependencies"]
    page = PAGE.read_text(encoding="utf-8")

    for name, version in pinned.items():
        assert f"/* {name} {version}, " in page
    assert "<script src=" not in page


@pytest.mark.slow
def test_a_plot_is_drawn_without_a_network(tmp_path: Path) -> None:
    plot = VegaRenderer(POINTS, "roc", x="false_positive_rate", y="true_positive_rate", template="linear")
    page_file = render_html([plot], tmp_path / "index.html", html_template=PAGE)
    requested, errors = [], []

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context(offline=True)
        page = context.new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(Path(page_file).as_uri())
        page.wait_for_selector(".vega-embed canvas, .vega-embed svg", timeout=20_000)
        browser.close()

    assert errors == []
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
