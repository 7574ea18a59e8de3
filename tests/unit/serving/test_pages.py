"""Pages, exports and PDF reports, without a browser."""

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pypdf
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pneumonia.serving import pdf_report, wording
from pneumonia.serving.schemas import (
    IndeterminateBand,
    ModelDetails,
    ModelInfo,
    ModelReloadStatus,
    ObservedFrequency,
    Prediction,
    ReaderVerdict,
)
from pneumonia.serving.wording import ResultText
from tests.unit.serving.conftest import send

MODEL = ModelInfo(name="m", version=3, origin="champion", bundle_sha256="ab" * 32, data="kermany", is_phantom=False)
CARD = ModelDetails(
    model=MODEL,
    kind="cnn",
    image_size=224,
    threshold=0.9,
    band=IndeterminateBand(low=0.7, high=0.95),
    calibration="isotonic",
    validation={},
    limits="- One hospital.\n- Two classes,\n  no more.\n",
    evaluation=None,
    swap=ModelReloadStatus(loaded=datetime(2026, 1, 1, tzinfo=UTC), failed=None),
)
ANSWERED = Prediction(
    id=uuid4(),
    created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    file="image.png",
    status="answered",
    decision="PNEUMONIA",
    probability=0.97,
    threshold=0.9,
    band=IndeterminateBand(low=0.7, high=0.95),
    familiarity=0.5,
    refusal=None,
    warnings=[],
    image=None,
    model=MODEL,
    meaning=ObservedFrequency(share=0.985, low=0.96, high=0.996, images=412),
    feedback=[],
)
IMAGE = np.tile(np.linspace(0, 255, 400).astype(np.uint8), (300, 1))
OVERLAY = Image.new("RGBA", (32, 32), (255, 0, 0, 255))


def describe(prediction: Prediction, **changes: Any) -> ResultText:
    return wording.describe_result(prediction.model_copy(update=changes))


class TestWording:
    def test_describes_the_observed_frequency(self) -> None:
        assert describe(ANSWERED).meaning == (
            "In validation, about 98 of 100 images with a similar probability showed pneumonia "
            "(95% interval 96 to 100, 412 images)."
        )
        bare = ObservedFrequency(share=0.985, low=None, high=None, images=1)
        assert describe(ANSWERED, meaning=bare).meaning.endswith("showed pneumonia (1 image).")
        assert "not available" in describe(ANSWERED, meaning=None).meaning

    @pytest.mark.parametrize(
        ("decision", "explanation"),
        [
            ("PNEUMONIA", "above the operating point of 90.0% and outside the indeterminate range"),
            ("INDETERMINATE", "in the indeterminate range of 70.0% to 95.0%"),
            ("NORMAL", "does not assess other findings"),
        ],
    )
    def test_explains_each_decision(self, decision: str, explanation: str) -> None:
        assert explanation in describe(ANSWERED, decision=decision).explanation

    def test_withholds_a_hidden_result(self) -> None:
        assert describe(ANSWERED, hidden=True) == ResultText("Blinded", "", wording.BLINDED)

    @pytest.mark.parametrize(
        ("share", "text"),
        [(0, "0.0%"), (0.0004, "< 0.1%"), (0.5, "50.0%"), (0.9996, "> 99.9%"), (1, "100.0%")],
    )
    def test_does_not_round_to_certainty(self, share: float, text: str) -> None:
        assert wording.format_percent(share) == text


class TestReport:
    def render(self, prediction: Prediction = ANSWERED, **changes: Any) -> pypdf.PageObject:
        content = pdf_report.render(prediction.model_copy(update=changes), details=CARD, image=IMAGE, overlay=OVERLAY)
        (page,) = pypdf.PdfReader(io.BytesIO(content)).pages
        return page

    def text(self, *arguments: Any, **changes: Any) -> str:
        return " ".join(self.render(*arguments, **changes).extract_text().split())

    def test_has_result_model_limitations_and_notice(self) -> None:
        text = self.text(
            feedback=[ReaderVerdict(verdict="UNSURE", blinded=True, created=datetime(2026, 1, 3, tzinfo=UTC))]
        )
        for expected in (
            "image.png",
            "Probability of pneumonia 97.0%",
            "operating point 90.0%",
            "indeterminate 70.0% to 95.0%",
            "about 98 of 100 images",
            "Unsure, before the result was shown",
            "m, version 3. Source: Model registry (champion)",
            "One hospital.",
            "Two classes, no more.",
        ):
            assert expected in text
        assert text.count(wording.NOTICE) == 2

    def test_has_glyphs_of_other_scripts(self) -> None:
        assert "Снимок-грудь-ά.png" in self.text(file="Снимок-грудь-ά.png")

    @pytest.mark.parametrize("warnings", [0, 12])
    def test_fits_on_one_page(self, warnings: int) -> None:
        bottoms: list[float] = []

        def look(text: str, _: Any, matrix: list[float], *more: Any) -> None:
            if text.strip():
                bottoms.append(matrix[5])

        unusual = ["Something is unusual about this image. " * 3] * warnings
        self.render(file="very-long-name-" * 20, warnings=unusual).extract_text(visitor_text=look)
        assert min(bottoms) > 15, "points from the lower edge"

    def test_withholds_a_hidden_result(self) -> None:
        page = self.render(hidden=True)
        text = page.extract_text()
        assert "97.0" not in text
        assert "Pneumonia" not in text.replace("pneumonia", "")
        assert len(page.images) == 1, "no heat map"

    def test_marks_limitations_of_another_version(self) -> None:
        other = MODEL.model_copy(update={"bundle_sha256": "cd" * 32})
        assert "Limitations of the model now in use" in self.text(model=other)

    def test_marks_a_phantom_model(self) -> None:
        assert "not valid for patients" in self.text(model=MODEL.model_copy(update={"is_phantom": True}))


class TestExport:
    def rows(self, client: TestClient, *ids: str) -> list[dict[str, str]]:
        response = client.get("/export/worklist.csv", params={"id": ids})
        assert response.headers["content-disposition"] == 'attachment; filename="worklist.csv"'
        return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))

    def test_keeps_the_requested_order(self, client: TestClient, radiograph: bytes) -> None:
        first, second = send(client, ("first.png", radiograph), ("second.png", radiograph))
        assert [row["file"] for row in self.rows(client, second["id"], first["id"])] == ["second.png", "first.png"]

    @pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "-1.png", "@cmd.png"])
    def test_escapes_formulas(self, client: TestClient, radiograph: bytes, name: str) -> None:
        (sent,) = send(client, (name, radiograph))
        (row,) = self.rows(client, sent["id"])
        assert row["file"] == f"'{name}"

    def test_withholds_hidden_results(self, client: TestClient, radiograph: bytes) -> None:
        (sent,) = send(client, ("one.png", radiograph), blinded=True)
        (row,) = self.rows(client, sent["id"])
        assert [row[name] for name in ("decision", "probability", "familiarity", "share_in_validation")] == [""] * 4
        (exported,) = client.get("/export/worklist.json", params={"id": sent["id"]}).json()["predictions"]
        assert (exported["decision"], exported["probability"]) == (None, None)
        text = client.get(f"/studies/{sent['id']}/text").json()
        assert (text["answer"], text["meaning"]) == ("Blinded", "")
        pdf = pypdf.PdfReader(io.BytesIO(client.get(f"/studies/{sent['id']}/report.pdf").content))
        assert "%" not in pdf.pages[0].extract_text().split("Limitations")[0]

    def test_of_an_unknown_id_is_a_problem(self, client: TestClient) -> None:
        unknown = str(uuid4())
        for path in ("/export/worklist.csv?id={}", "/studies/{}/text", "/studies/{}/report.pdf"):
            response = client.get(path.format(unknown))
            assert response.status_code == 404
            assert response.headers["content-type"] == "application/problem+json"
        assert client.get("/export/worklist.csv").status_code == 422


class TestPages:
    def test_have_no_inline_scripts_and_no_external_addresses(self, client: TestClient, radiograph: bytes) -> None:
        (sent,) = send(client, ("one.png", radiograph))
        for path in ("/", f"/studies/{sent['id']}", "/login", f"/studies/{uuid4()}"):
            page = client.get(path, headers={"Accept": "text/html"})
            assert "script-src 'self'" in page.headers["content-security-policy"]
            assert wording.NOTICE in page.text
            assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:", page.text)
            addresses = re.findall(r'(?:src|href|action)="([^"]*)"', page.text)
            assert addresses
            assert all(re.match(r"/(?!/)|#", address) for address in addresses)

    def test_show_whether_images_are_stored(self, open_app: Callable[..., TestClient], tmp_path: Path) -> None:
        assert wording.IMAGES_NOT_STORED in open_app().get("/").text
        assert wording.IMAGES_STORED in open_app(keep_images=tmp_path / "kept").get("/").text

    def test_static_files_have_no_external_addresses(self) -> None:
        from pneumonia.serving.main import STATIC

        files = [file for file in STATIC.rglob("*") if file.suffix in (".js", ".css")]
        assert files
        for file in files:
            assert not re.search(r"https?://|[\"'(]//", file.read_text()), file
