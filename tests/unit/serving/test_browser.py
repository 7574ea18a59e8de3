"""The page in Chromium, served by the application: from the upload to the report."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pypdf
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import golden
from pneumonia.serving.access import set_password
from pneumonia.serving.settings import AppSettings
from tests.support import bright, live

PASSWORD = "a long enough password"
DESKTOP, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
DATA = bundles.DataLineage("kermany", "resized-224", "5e" * 32, {"test": {"NORMAL": 1, "PNEUMONIA": 3}})
GREY = {"PNEUMONIA": 130, "INDETERMINATE": 75, "NORMAL": 25}
"""Mean grey levels by the decision of the model."""

Open = Callable[..., Page]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert Path(live.CHROMIUM).exists(), "the page is tested in Debian's Chromium: run `make test`, which installs it"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=live.CHROMIUM, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Depends on brightness: probability 0.62 at a mean grey level of 75."""
    folder = tmp_path_factory.mktemp("models") / "bright"
    card = {"threshold": 0.6, "band": bundles.Band(0.5, 0.7), "data": DATA}
    return bright.write_bundle(folder, slope=0.02, **card).folder


@pytest.fixture(scope="module")
def address(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live.serving(AppSettings(bundle=model, state=tmp_path_factory.mktemp("state"))) as url:
        yield url


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Open]:
    """Open pages; at the end, check that none has contacted another server or violated its content security policy."""
    contexts: list[BrowserContext] = []
    requested: list[str] = []
    violations: list[str] = []

    def start(path: str = "/", url: str = address, **options: Any) -> Page:
        contexts.append(browser.new_context(**{"viewport": DESKTOP, "locale": "en-GB"} | options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: violations.append(str(error)))
        page.on("console", lambda entry: violations.append(entry.text) if "Security Policy" in entry.text else None)
        page.goto(url + path)
        return page

    yield start
    for context in contexts:
        context.close()
    foreign = [
        url for url in requested if not url.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:", "data:"))
    ]
    assert requested
    assert (foreign, violations) == ([], [])


def images() -> dict[str, bytes]:
    return {f"{decision.lower()}.png": live.radiograph(3, grey) for decision, grey in GREY.items()}


def send(page: Page, folder: Path, files: dict[str, bytes]) -> None:
    """Upload files and wait for all results."""
    page.set_input_files("#files", live.write(folder, files))
    wait(page)


def wait(page: Page) -> None:
    expect(page.locator("#rows tr").first).to_be_visible()
    expect(page.locator("#rows [aria-busy=true]")).to_have_count(0, timeout=30_000)
    expect(page.locator("#progress")).to_be_hidden()


def row(page: Page, name: str) -> Locator:
    return page.locator("#rows tr", has=page.get_by_role("link", name=name, exact=True))


def outcomes(page: Page) -> dict[str, str]:
    rows = page.locator("#rows tr").all()
    return {r.locator(".file").inner_text(): r.locator(".badge").inner_text() for r in rows}


def study(page: Page, name: str) -> None:
    row(page, name).get_by_role("link", name=name).click()
    expect(page.locator("#radiograph")).to_be_visible()
    expect(page.locator("#file")).to_have_text(name)


def level(page: Page) -> str:
    return page.locator("#corner-window").inner_text()


class TestWorklist:
    def test_has_a_row_per_file_also_for_unusable_ones(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        small = live.radiograph(1, size=60)
        dicom = golden.images()["bacteria.dcm"]
        archive = live.zipped({"first.png": live.radiograph(5, 130), "notes.txt": b"words", "second.png": small})
        files = {"broken.dcm": b"no image", **images(), "chest.dcm": dicom, "some.zip": archive, "small.png": small}
        send(page, tmp_path, files)

        assert outcomes(page) == {
            "broken.dcm": "Unreadable",
            "pneumonia.png": "Pneumonia",
            "indeterminate.png": "Indeterminate",
            "normal.png": "Normal",
            "chest.dcm": "Pneumonia",
            "some.zip/first.png": "Pneumonia",
            "some.zip/notes.txt": "Unreadable",
            "some.zip/second.png": "Refused",
            "small.png": "Refused",
        }
        expect(row(page, "broken.dcm").locator(".notes")).to_contain_text("expected a JPEG, PNG or DICOM")
        expect(row(page, "small.png").locator(".notes")).to_contain_text("at least 100 per side")
        expect(row(page, "small.png").locator(".score")).to_be_empty()
        expect(row(page, "pneumonia.png").locator(".bar")).to_have_attribute(
            "aria-label",
            "Probability of pneumonia 83.2%, operating point 60.0%, indeterminate range 50.0% to 70.0%",
        )
        expect(row(page, "pneumonia.png").locator("img")).to_be_visible()
        expect(page.locator("#announcer")).to_contain_text("Analysis complete: 3 Pneumonia, 1 Indeterminate")

    def test_and_study_show_the_model_its_limitations_and_the_notice(
        self, open_page: Open, tmp_path: Path, model: Path
    ) -> None:
        def check() -> None:
            expect(page.locator("#version")).to_have_text(version)
            expect(page.locator("#model")).to_contain_text("One hospital")
            expect(page.locator("#model")).to_contain_text("60.0%")
            expect(page.locator(".notice")).to_contain_text("not a medical device")

        page = open_page()
        version = f"bright · {bundles.read(model).card.sha256[:8]}"
        check()
        send(page, tmp_path, {"one.png": live.radiograph(1)})
        expect(row(page, "one.png").locator(".answer")).to_contain_text(version)
        study(page, "one.png")
        expect(page.locator("#answer")).to_contain_text(f"Analyzed by {version}")
        check()

    def test_is_kept_on_reload_until_it_is_cleared(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        send(page, tmp_path, images())
        before = outcomes(page)
        page.reload()
        wait(page)
        assert outcomes(page) == before
        page.get_by_role("button", name="Clear list").click()
        expect(page.locator("#list")).to_be_hidden()
        page.reload()
        expect(page.locator("#list")).to_be_hidden()

    def test_filters_and_sorts(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        send(page, tmp_path, images())
        page.get_by_role("button", name="Normal 1").click()
        assert list(outcomes(page)) == ["normal.png"]
        page.get_by_role("button", name="All 3").click()
        page.get_by_role("button", name="Probability of pneumonia").click()
        assert list(outcomes(page)) == ["pneumonia.png", "indeterminate.png", "normal.png"]
        page.get_by_role("button", name="Probability of pneumonia").click()
        assert list(outcomes(page)) == ["normal.png", "indeterminate.png", "pneumonia.png"]
        header = page.get_by_role("columnheader", name="Probability of pneumonia")
        expect(header).to_have_attribute("aria-sort", "ascending")

    def test_is_exported_as_csv_and_json(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        send(page, tmp_path, images())
        with page.expect_download() as csv_file:
            page.get_by_role("link", name="CSV").click()
        rows = list(csv.DictReader(io.StringIO(csv_file.value.path().read_text("utf-8-sig"))))
        assert [r["file"] for r in rows] == list(images())
        assert [r["decision"] for r in rows] == list(GREY)
        assert all("not a medical device" in r["notice"] for r in rows)
        with page.expect_download() as json_file:
            page.get_by_role("link", name="JSON").click()
        worklist = json.loads(json_file.value.path().read_text())
        assert [str(p["probability"]) for p in worklist["predictions"]] == [r["probability"] for r in rows]

    def test_shows_a_hostile_file_name_as_text(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        name = "<img src=x onerror=alert(1)>.png"
        send(page, tmp_path, {name: live.radiograph(1)})
        expect(row(page, name)).to_have_count(1)
        study(page, name)
        assert page.locator("img[src=x]").count() == 0

    def test_retries_while_the_queue_is_full(
        self, browser: Browser, open_page: Open, model: Path, tmp_path: Path
    ) -> None:
        """With a queue of one image the server rejects most requests; the page retries."""
        refused: list[int] = []
        with live.serving(AppSettings(bundle=model, state=tmp_path / "state", queue_size=1)) as url:
            page = open_page(url=url)
            page.on("response", lambda response: refused.append(response.status) if response.status == 503 else None)
            send(page, tmp_path / "files", {f"{n}.png": live.radiograph(n, size=900) for n in range(8)})
            assert set(outcomes(page).values()) <= {"Pneumonia", "Indeterminate", "Normal"}
            assert len(outcomes(page)) == 8
        assert refused, "the queue was never full: the test checks nothing"

    def test_reports_an_unreachable_server(self, open_page: Open, model: Path, tmp_path: Path) -> None:
        with live.serving(AppSettings(bundle=model, state=tmp_path / "state")) as url:
            page = open_page(url=url)
        send(page, tmp_path / "files", {"one.png": live.radiograph(1)})
        assert outcomes(page) == {"one.png": "Unreadable"}
        expect(page.locator(".notes")).to_contain_text("cannot be reached")


class TestStudy:
    def test_shows_image_result_and_observed_frequency(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        send(page, tmp_path, images())
        study(page, "pneumonia.png")
        expect(page.locator("#answer .badge")).to_have_text("Pneumonia")
        expect(page.locator(".figure")).to_have_text("83.2% probability of pneumonia")
        expect(page.locator(".meaning")).to_contain_text("of 100 images with a similar probability")
        expect(page.locator(".point-label")).to_have_text("operating point 60.0%")
        expect(page.locator(".band-label")).to_have_text("indeterminate 50.0% to 70.0%")
        expect(page.locator("#position")).to_have_text("1 of 3")
        page.get_by_role("link", name="Next").click()
        expect(page.locator("#answer .badge")).to_have_text("Indeterminate")

    def test_heat_map_covers_the_image_and_can_be_changed(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        send(page, tmp_path, images())
        study(page, "pneumonia.png")
        evidence = page.locator("#evidence")
        expect(evidence).to_be_visible()
        page.wait_for_function(
            "() => { const [a, b] = ['evidence', 'radiograph'].map("
            "id => JSON.stringify(document.getElementById(id).getBoundingClientRect())); return a === b; }"
        )
        page.locator("#opacity").fill("20")
        expect(evidence).to_have_css("opacity", "0.2")
        page.get_by_role("checkbox", name="Heat map").uncheck()
        expect(evidence).to_be_hidden()

    def test_window_level_and_zoom(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        send(page, tmp_path, images())
        study(page, "pneumonia.png")
        assert level(page) == "W 255 L 128"
        shown = page.locator("#frame").screenshot()

        page.mouse.move(500, 400)
        page.mouse.down()
        page.mouse.move(400, 450)
        page.mouse.up()
        assert level(page) == "W 195 L 158"
        slope = float(page.locator("feFuncR").get_attribute("slope") or 0)
        intercept = float(page.locator("feFuncR").get_attribute("intercept") or 0)
        assert slope * 157.5 / 255 + intercept == pytest.approx(0.5), "the level becomes middle grey"
        assert slope * (157.5 + 195 / 2) / 255 + intercept == pytest.approx(1), "the window ends in white"
        assert page.locator("#frame").screenshot() != shown

        page.locator("#width").fill("100")
        page.locator("#level").fill("90")
        assert level(page) == "W 100 L 90"
        page.keyboard.press("i")
        assert level(page) == "W 100 L 90 inverted"
        page.keyboard.press("r")
        assert level(page) == "W 255 L 128"

        before = page.locator("#radiograph").bounding_box()
        page.mouse.wheel(0, -100)
        page.get_by_role("button", name="Zoom in").click()
        after = page.locator("#radiograph").bounding_box()
        assert before is not None
        assert after is not None
        assert after["width"] == pytest.approx(before["width"] * 1.25**2, abs=1)
        page.get_by_role("radio", name="Pan").check()
        page.mouse.move(500, 400)
        page.mouse.down()
        page.mouse.move(530, 380)
        page.mouse.up()
        moved = page.locator("#radiograph").bounding_box()
        assert moved is not None
        assert (moved["x"] - after["x"], moved["y"] - after["y"]) == pytest.approx((30, -20), abs=1)
        page.get_by_role("button", name="Fit").click()
        assert page.locator("#radiograph").bounding_box() == before

    def test_stores_the_readers_assessment(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        send(page, tmp_path, images())
        study(page, "normal.png")
        page.get_by_role("button", name="Pneumonia").click()
        expect(page.locator("#assessment")).to_contain_text("Pneumonia, after the result was shown")
        expect(page.get_by_role("button", name="Pneumonia")).to_have_attribute("aria-pressed", "true")
        page.get_by_role("link", name="Worklist").click()
        wait(page)
        expect(row(page, "normal.png").locator(".assessment")).to_have_text("Pneumonia")

    def test_report_is_one_complete_page(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        send(page, tmp_path, images())
        study(page, "indeterminate.png")
        with page.expect_download() as download:
            page.get_by_role("link", name="Study report").click()
        (printed,) = pypdf.PdfReader(download.value.path()).pages
        text = " ".join(printed.extract_text().split())
        for expected in (
            "indeterminate.png",
            "Indeterminate",
            "operating point 60.0%",
            "of 100 images",
            "One hospital",
        ):
            assert expected in text
        assert "bright" in text
        assert "not a medical device" in text
        assert len(printed.images) == 2

    def test_of_a_refused_image_shows_the_reason_and_no_probability(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        send(page, tmp_path, {"small.png": live.radiograph(1, size=60)})
        study(page, "small.png")
        expect(page.locator(".reason")).to_contain_text("at least 100 per side")
        expect(page.locator("#answer")).to_contain_text("Refused by bright")
        expect(page.locator(".figure")).to_have_count(0)
        expect(page.locator("#overlay")).to_be_hidden()

    def test_keeps_the_result_when_the_image_is_not_in_memory(
        self, open_page: Open, model: Path, tmp_path: Path
    ) -> None:
        with live.serving(AppSettings(bundle=model, state=tmp_path / "state", image_cache_seconds=0.01)) as url:
            page = open_page(url=url)
            send(page, tmp_path / "files", {"one.png": live.radiograph(3, 130)})
            row(page, "one.png").get_by_role("link").first.click()
            expect(page.locator("#unavailable")).to_contain_text("no longer in memory")
            expect(page.locator("#file")).to_have_text("one.png")
            expect(page.locator("#answer .badge")).to_have_text("Pneumonia")

    def test_with_an_unknown_id_is_not_found(self, open_page: Open) -> None:
        page = open_page("/studies/00000000-0000-4000-8000-000000000000")
        expect(page.get_by_role("heading")).to_have_text("Study not found")


class TestBlinded:
    def test_result_is_not_sent_before_the_assessment(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        leaked: list[str] = []

        def look(response: Any) -> None:
            is_text = response.headers.get("content-type", "").startswith(("application/json", "text/html"))
            if is_text and ("/predictions" in response.url or "/studies" in response.url):
                leaked.extend(word for word in ('"decision":"PNEUMONIA"', "0.83", "83.2") if word in response.text())

        page.on("response", look)
        page.get_by_label("Blinded reading").check()
        send(page, tmp_path, {"one.png": live.radiograph(3, 130)})
        assert outcomes(page) == {"one.png": "Blinded"}
        study(page, "one.png")
        expect(page.locator("#answer")).to_contain_text("Assess the image first")
        expect(page.locator("#evidence")).to_be_hidden()
        expect(page.locator("#report")).to_be_hidden()
        page.wait_for_load_state("networkidle")
        assert leaked == []
        page.remove_listener("response", look)

        page.keyboard.press("1")
        expect(page.locator("#answer .badge")).to_have_text("Pneumonia")
        expect(page.locator("#assessment")).to_contain_text("Normal, before the result was shown")
        expect(page.locator("#evidence")).to_be_visible()
        page.keyboard.press("Escape")
        wait(page)
        expect(row(page, "one.png").locator(".assessment")).to_have_text("Normal, blinded")

    def test_assessment_after_the_result_is_not_blinded(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        page.get_by_label("Blinded reading").check()
        send(page, tmp_path, {"one.png": live.radiograph(3, 130)})
        study(page, "one.png")
        page.get_by_role("button", name="Show the result without an assessment").click()
        expect(page.locator("#answer .badge")).to_have_text("Pneumonia")
        page.get_by_role("button", name="Unsure").click()
        expect(page.locator("#assessment")).to_contain_text("Unsure, after the result was shown")


class TestLogin:
    def test_requires_the_password(self, open_page: Open, model: Path, tmp_path: Path) -> None:
        set_password(tmp_path / "password", PASSWORD)
        settings = AppSettings(bundle=model, state=tmp_path / "state", password_file=tmp_path / "password")
        with live.serving(settings) as url:
            page = open_page(url=url)
            expect(page).to_have_url(f"{url}/login")
            expect(page.locator(".notice")).to_contain_text("not a medical device")
            page.get_by_label("Password").fill("a wrong password")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert").first).to_contain_text("Incorrect password")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            expect(page).to_have_url(f"{url}/")
            send(page, tmp_path / "files", {"one.png": live.radiograph(3, 130)})
            assert outcomes(page) == {"one.png": "Pneumonia"}
            page.get_by_role("button", name="Sign out").click()
            expect(page).to_have_url(f"{url}/login")
            page.goto(url)
            expect(page).to_have_url(f"{url}/login")


class TestAccessibility:
    def test_keyboard_is_sufficient(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        send(page, tmp_path, images())
        page.keyboard.press("j")
        page.keyboard.press("j")
        expect(page.get_by_role("link", name="indeterminate.png")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#answer .badge")).to_have_text("Indeterminate")
        expect(page.locator("#evidence")).to_be_visible()
        page.keyboard.press("h")
        expect(page.locator("#evidence")).to_be_hidden()
        page.locator("#frame").focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowDown")
        assert level(page) == "W 247 L 136"
        page.keyboard.press("3")
        expect(page.locator("#announcer")).to_have_text("Your assessment: Pneumonia.")
        page.keyboard.press("j")
        expect(page.locator("#answer .badge")).to_have_text("Normal")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_contain_text("Heat map on or off")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.keyboard.press("Escape")
        expect(page.locator("#rows tr")).to_have_count(3)

    def test_single_keys_can_be_switched_off(self, open_page: Open) -> None:
        page = open_page()
        page.keyboard.press("?")
        page.get_by_label("Use single keys as shortcuts").uncheck()
        page.keyboard.press("Escape")
        page.keyboard.press("b")
        expect(page.get_by_label("Blinded reading")).not_to_be_checked()
        page.get_by_role("button", name="Shortcuts").click()
        page.get_by_label("Use single keys as shortcuts").check()
        page.keyboard.press("Escape")
        page.keyboard.press("b")
        expect(page.get_by_label("Blinded reading")).to_be_checked()

    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
    def test_axe_finds_no_violation(self, open_page: Open, tmp_path: Path, theme: str, screen: dict[str, int]) -> None:
        page = open_page(viewport=screen, color_scheme=theme)
        check_with_axe(page)
        send(page, tmp_path, {**images(), "small.png": live.radiograph(1, size=60), "broken.dcm": b"no image"})
        check_with_axe(page)
        page.keyboard.press("?")
        check_with_axe(page)
        page.keyboard.press("Escape")
        study(page, "pneumonia.png")
        check_with_axe(page)
        page.goto(page.url.split("/studies")[0] + "/login")
        check_with_axe(page)

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_theme_is_that_of_the_system(self, open_page: Open, theme: str) -> None:
        page = open_page(color_scheme=theme)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(part) for part in ground[4:-1].split(", ")) / 3
        assert brightness < 40 if theme == "dark" else brightness > 220

    def test_layout_fits_a_phone(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
        send(
            page,
            tmp_path,
            {**images(), "a-rather-long-file-name-without-any-space-in-it-0001.png": live.radiograph(1)},
        )
        assert horizontal_overflow(page) == 0
        scale = row(page, "pneumonia.png").locator(".bar").bounding_box()
        assert scale is not None
        assert scale["width"] > 200
        study(page, "pneumonia.png")
        assert horizontal_overflow(page) == 0
        for button in page.locator(".controls button:visible, .verdicts button:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 44, button.inner_text()

    def test_reduced_motion_disables_animations(self, open_page: Open, tmp_path: Path) -> None:
        moving = """() => {
            const row = document.getElementById("row").content.firstElementChild.cloneNode(true);
            row.setAttribute("aria-busy", "true");
            document.getElementById("rows").append(row);
            return getComputedStyle(row.querySelector(".score"), "::after").animationName;
        }"""
        assert open_page().evaluate(moving) == "progress-sweep"
        assert open_page(reduced_motion="reduce").evaluate(moving) == "none"


def check_with_axe(page: Page) -> None:
    page.wait_for_load_state("networkidle")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def horizontal_overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the screen."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
