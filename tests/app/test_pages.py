"""What the server says on pages, in exports and in reports, without a browser."""

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

from pneumonia.app import report, words
from pneumonia.app.schemas import Band, Feedback, Meaning, ModelCard, ModelFacts, Prediction, Swap
from pneumonia.app.words import Words
from tests.app.conftest import send

MODEL = ModelFacts(name="m", version=3, origin="champion", bundle_sha256="ab" * 32, data="kermany", is_phantom=False)
CARD = ModelCard(
    model=MODEL,
    kind="cnn",
    image_size=224,
    threshold=0.9,
    band=Band(low=0.7, high=0.95),
    calibration="isotonic",
    validation={},
    git_commit=None,
    limits="- One hospital.\n- Two classes,\n  no more.\n",
    judgement=None,
    swap=Swap(loaded=datetime(2026, 1, 1, tzinfo=UTC), failed=None),
)
ANSWERED = Prediction(
    id=uuid4(),
    created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    file="image.png",
    status="answered",
    decision="PNEUMONIA",
    probability=0.97,
    threshold=0.9,
    band=Band(low=0.7, high=0.95),
    familiarity=0.5,
    refusal=None,
    warnings=[],
    image=None,
    model=MODEL,
    meaning=Meaning(share=0.985, low=0.96, high=0.996, images=412),
    feedback=[],
)
IMAGE = np.tile(np.linspace(0, 255, 400).astype(np.uint8), (300, 1))
OVERLAY = Image.new("RGBA", (32, 32), (255, 0, 0, 255))


def told(prediction: Prediction, **changes: Any) -> Words:
    return words.of(prediction.model_copy(update=changes))


class TestWords:
    def test_say_what_the_number_means_and_on_how_many_images_that_rests(self) -> None:
        assert told(ANSWERED).meaning == (
            "Of 100 images scored like this, about 98 showed pneumonia in validation "
            "(95% interval 96 to 100, from 412 images)."
        )
        bare = Meaning(share=0.985, low=None, high=None, images=1)
        assert told(ANSWERED, meaning=bare).meaning.endswith("in validation (from 1 image).")
        assert "not recorded" in told(ANSWERED, meaning=None).meaning

    @pytest.mark.parametrize(
        ("decision", "explanation"),
        [
            ("PNEUMONIA", "above the operating point of 90.0% and outside the indeterminate band"),
            ("INDETERMINATE", "From 70.0% to 95.0% the model does not decide"),
            ("NORMAL", "it looks for nothing else"),
        ],
    )
    def test_explain_each_decision(self, decision: str, explanation: str) -> None:
        assert explanation in told(ANSWERED, decision=decision).explanation

    def test_withhold_a_hidden_answer(self) -> None:
        assert told(ANSWERED, hidden=True) == Words("Blinded", "", words.BLINDED)

    @pytest.mark.parametrize(
        ("share", "text"),
        [(0, "0.0%"), (0.0004, "< 0.1%"), (0.5, "50.0%"), (0.9996, "> 99.9%"), (1, "100.0%")],
    )
    def test_round_no_doubt_away(self, share: float, text: str) -> None:
        assert words.percent(share) == text


class TestReport:
    def draw(self, prediction: Prediction = ANSWERED, **changes: Any) -> pypdf.PageObject:
        drawn = report.draw(prediction.model_copy(update=changes), card=CARD, image=IMAGE, overlay=OVERLAY)
        (page,) = pypdf.PdfReader(io.BytesIO(drawn)).pages
        return page

    def text(self, *arguments: Any, **changes: Any) -> str:
        return " ".join(self.draw(*arguments, **changes).extract_text().split())

    def test_holds_answer_meaning_model_limits_and_notice(self) -> None:
        text = self.text(feedback=[Feedback(verdict="UNSURE", blinded=True, created=datetime(2026, 1, 3, tzinfo=UTC))])
        for said in (
            "image.png",
            "Probability of pneumonia 97.0%",
            "operating point 90.0%",
            "indeterminate 70.0% to 95.0%",
            "about 98 showed pneumonia",
            "Unsure, given before seeing the answer",
            "m, version 3, from champion",
            "One hospital.",
            "Two classes, no more.",
        ):
            assert said in text
        assert text.count(words.NOTICE) == 2

    def test_writes_names_in_other_scripts(self) -> None:
        assert "Снимок-грудь-ά.png" in self.text(file="Снимок-грудь-ά.png")

    @pytest.mark.parametrize("warnings", [0, 12])
    def test_stays_on_its_page_whatever_there_is_to_say(self, warnings: int) -> None:
        bottoms: list[float] = []

        def look(text: str, _: Any, matrix: list[float], *more: Any) -> None:
            if text.strip():
                bottoms.append(matrix[5])

        unusual = ["Something is unusual about this image. " * 3] * warnings
        self.draw(file="very-long-name-" * 20, warnings=unusual).extract_text(visitor_text=look)
        assert min(bottoms) > 15, "points from the lower edge"

    def test_of_a_hidden_answer_gives_nothing_away(self) -> None:
        page = self.draw(hidden=True)
        text = page.extract_text()
        assert "97.0" not in text
        assert "Pneumonia" not in text.replace("pneumonia", "")
        assert len(page.images) == 1, "no heat map"

    def test_says_when_the_limits_are_those_of_another_version(self) -> None:
        other = MODEL.model_copy(update={"bundle_sha256": "cd" * 32})
        assert "Limits of the model that answers now" in self.text(model=other)

    def test_of_a_phantom_model_says_so(self) -> None:
        assert "nothing about patients" in self.text(model=MODEL.model_copy(update={"is_phantom": True}))


class TestExport:
    def rows(self, client: TestClient, *ids: str) -> list[dict[str, str]]:
        response = client.get("/export/worklist.csv", params={"id": ids})
        assert response.headers["content-disposition"] == 'attachment; filename="worklist.csv"'
        return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))

    def test_keeps_the_order_that_was_asked_for(self, client: TestClient, radiograph: bytes) -> None:
        first, second = send(client, ("first.png", radiograph), ("second.png", radiograph))
        assert [row["file"] for row in self.rows(client, second["id"], first["id"])] == ["second.png", "first.png"]

    @pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "-1.png", "@cmd.png"])
    def test_no_name_becomes_a_formula(self, client: TestClient, radiograph: bytes, name: str) -> None:
        (sent,) = send(client, (name, radiograph))
        (row,) = self.rows(client, sent["id"])
        assert row["file"] == f"'{name}"

    def test_withholds_what_a_blinded_reader_must_not_see(self, client: TestClient, radiograph: bytes) -> None:
        (sent,) = send(client, ("one.png", radiograph), blinded=True)
        (row,) = self.rows(client, sent["id"])
        assert [row[name] for name in ("decision", "probability", "familiarity", "share_in_validation")] == [""] * 4
        (told,) = client.get("/export/worklist.json", params={"id": sent["id"]}).json()["predictions"]
        assert (told["decision"], told["probability"]) == (None, None)
        said = client.get(f"/studies/{sent['id']}/words").json()
        assert (said["answer"], said["meaning"]) == ("Blinded", "")
        pdf = pypdf.PdfReader(io.BytesIO(client.get(f"/studies/{sent['id']}/report.pdf").content))
        assert "%" not in pdf.pages[0].extract_text().split("Limits")[0]

    def test_of_the_unknown_is_a_problem(self, client: TestClient) -> None:
        unknown = str(uuid4())
        for path in ("/export/worklist.csv?id={}", "/studies/{}/words", "/studies/{}/report.pdf"):
            response = client.get(path.format(unknown))
            assert response.status_code == 404
            assert response.headers["content-type"] == "application/problem+json"
        assert client.get("/export/worklist.csv").status_code == 422


class TestPages:
    def test_have_neither_inline_scripts_nor_foreign_addresses(self, client: TestClient, radiograph: bytes) -> None:
        (sent,) = send(client, ("one.png", radiograph))
        for path in ("/", f"/studies/{sent['id']}", "/login", f"/studies/{uuid4()}"):
            page = client.get(path, headers={"Accept": "text/html"})
            assert "script-src 'self'" in page.headers["content-security-policy"]
            assert words.NOTICE in page.text
            assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:", page.text)
            addresses = re.findall(r'(?:src|href|action)="([^"]*)"', page.text)
            assert addresses
            assert all(re.match(r"/(?!/)|#", address) for address in addresses)

    def test_say_whether_images_are_kept(self, open_app: Callable[..., TestClient], tmp_path: Path) -> None:
        assert words.NOT_KEPT in open_app().get("/").text
        assert words.KEPT in open_app(keep_images=tmp_path / "kept").get("/").text

    def test_static_files_name_no_other_server(self) -> None:
        from pneumonia.app.main import STATIC

        files = [file for file in STATIC.rglob("*") if file.suffix in (".js", ".css")]
        assert files
        for file in files:
            assert not re.search(r"https?://|[\"'(]//", file.read_text()), file
