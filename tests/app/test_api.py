"""What the API says: of images of every format, of verdicts, of withheld answers and of itself."""

import io
import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pneumonia.app.settings import Limits
from pneumonia.inference import golden
from pneumonia.inference.predictor import Predictor
from pneumonia.models import bundle as bundles
from tests import bright
from tests.app.conftest import PHANTOMS, draw, encode, send


def dark() -> bytes:
    """An image with contrast that is dark on the whole."""
    pixels = np.full((160, 160), 10, np.uint8)
    pixels[:, :40] = 90
    return encode(pixels)


class TestPredictions:
    def test_agree_with_the_predictor_for_every_format(self, client: TestClient, bundle: Any) -> None:
        images = golden.images()
        said = send(client, *images.items())
        predictor = Predictor.load(bundle)
        for entry, (name, answer) in zip(
            said, zip(images, predictor.predict(list(images.values())), strict=True), strict=True
        ):
            assert entry["file"] == name
            assert entry["probability"] == pytest.approx(answer.probability, abs=1e-3)
            assert entry["decision"] == answer.label
        assert {entry["image"]["format"] for entry in said} == {"JPEG", "PNG", "DICOM"}

    def test_say_which_model_answered_and_what_the_number_means(self, client: TestClient, radiograph: bytes) -> None:
        (said,) = send(client, ("1.png", radiograph))
        sha256 = bundles.read(client.app.state.settings.bundle).card.model_sha256  # type: ignore[attr-defined]
        assert said["model"] | {"origin": ""} == {
            "name": "bright",
            "version": None,
            "origin": "",
            "bundle_sha256": sha256,
            "data": "phantom drawn",
            "is_phantom": True,
        }
        assert said["meaning"] == {"share": 0.9, "low": 0.8, "high": 0.95, "images": 40}
        assert (said["threshold"], said["band"]) == (0.5, {"low": 0.5, "high": 0.5})
        height, width = draw(1).shape
        assert said["image"] == {"format": "PNG", "width": width, "height": height, "view": None}

    def test_are_the_same_when_looked_up(self, client: TestClient, radiograph: bytes) -> None:
        (said,) = send(client, ("1.png", radiograph))
        assert client.get(f"/api/v1/predictions/{said['id']}").json() == said

    def test_too_near_to_the_operating_point_are_indeterminate(
        self, open_app: Callable[..., TestClient], tmp_path: Any, radiograph: bytes
    ) -> None:
        doubtful = bright.write_bundle(tmp_path / "doubtful", slope=0.02, data=PHANTOMS, band=bundles.Band(0.01, 0.99))
        (said,) = send(open_app(bundle=doubtful.folder), ("1.png", radiograph))
        assert said["decision"] == "INDETERMINATE"
        assert 0.01 <= said["probability"] < 0.99

    def test_refused_images_have_a_reason_and_no_answer(
        self, open_app: Callable[..., TestClient], tmp_path: Any, radiograph: bytes
    ) -> None:
        strict = bright.write_bundle(tmp_path / "strict", slope=0.02, data=PHANTOMS, minimum_familiarity=2.0)
        strange, blank, small = send(
            open_app(bundle=strict.folder),
            ("strange.png", radiograph),
            ("blank.png", encode(np.full((200, 200), 99, np.uint8))),
            ("small.png", encode(draw(1)[:50, :50])),
        )
        assert [entry["refusal"]["code"] for entry in (blank, small)] == ["blank", "too_small"]
        assert strange["refusal"]["code"] in ("unfamiliar", "not_a_radiograph")
        for entry in (strange, blank, small):
            assert entry["status"] == "refused"
            assert entry["decision"] is entry["probability"] is entry["meaning"] is None
            assert entry["refusal"]["reason"]

    def test_are_a_problem_where_there_are_none(self, client: TestClient) -> None:
        for path in ("", "/image.png", "/thumbnail.png", "/evidence.png"):
            response = client.get(f"/api/v1/predictions/{uuid.uuid4()}{path}")
            assert (response.status_code, response.json()["code"]) == (404, "unknown_prediction")
            assert client.get(f"/api/v1/predictions/17{path}").status_code == 422


class TestPictures:
    def test_show_the_image_its_thumbnail_and_the_evidence(self, client: TestClient) -> None:
        pixels = draw(4, size=300)
        (said,) = send(client, ("1.png", encode(pixels)))
        image, thumbnail, evidence = (
            Image.open(io.BytesIO(client.get(f"/api/v1/predictions/{said['id']}/{name}.png").content))
            for name in ("image", "thumbnail", "evidence")
        )
        np.testing.assert_array_equal(np.asarray(image), pixels)
        assert max(thumbnail.size) == 160
        assert thumbnail.width / thumbnail.height == pytest.approx(image.width / image.height, rel=0.02)
        assert (evidence.mode, evidence.size) == ("RGBA", (bright.SIZE, bright.SIZE))

    def test_of_evidence_are_transparent_where_there_is_none(self, client: TestClient) -> None:
        pixels = np.zeros((160, 160), np.uint8)
        pixels[:, 80:] = 250
        (said,) = send(client, ("half.png", encode(pixels)))
        evidence = Image.open(io.BytesIO(client.get(f"/api/v1/predictions/{said['id']}/evidence.png").content))
        opacity = np.asarray(evidence)[..., 3]
        assert opacity[:, :4].max() == 0
        assert opacity[:, -4:].min() > 200

    def test_are_forgotten_when_the_shelf_is_full_and_the_answer_stays(
        self, open_app: Callable[..., TestClient], radiograph: bytes
    ) -> None:
        client = open_app(shelf_bytes=int(2.5 * (len(radiograph) + bright.SIZE**2)))
        said = send(client, *((f"{number}.png", radiograph) for number in range(3)))
        statuses = [client.get(f"/api/v1/predictions/{entry['id']}/image.png").status_code for entry in said]
        assert statuses == [410, 200, 200]
        first = client.get(f"/api/v1/predictions/{said[0]['id']}").json()
        assert first == said[0] | {"file": ""}

    def test_of_refused_images_have_no_evidence(self, client: TestClient) -> None:
        (said,) = send(client, ("blank.png", encode(np.full((200, 200), 99, np.uint8))))
        assert client.get(f"/api/v1/predictions/{said['id']}/thumbnail.png").status_code == 200
        assert client.get(f"/api/v1/predictions/{said['id']}/evidence.png").status_code == 409


class TestBlindedReading:
    withheld = ("decision", "probability", "familiarity", "meaning")

    def test_withholds_the_answer_until_the_verdict(self, client: TestClient, radiograph: bytes) -> None:
        (said,) = send(client, ("1.png", radiograph), blinded=True)
        path = f"/api/v1/predictions/{said['id']}"
        for entry in (said, client.get(path).json()):
            assert entry["hidden"]
            assert [entry[name] for name in self.withheld] == [None] * 4
        assert client.get(f"{path}/evidence.png").status_code == 409
        assert client.get(f"{path}/image.png").status_code == 200
        judged = client.post(f"{path}/feedback", json={"verdict": "NORMAL", "blinded": True}).json()
        assert judged["decision"] == "PNEUMONIA"
        assert [(given["verdict"], given["blinded"]) for given in judged["feedback"]] == [("NORMAL", True)]
        assert client.get(f"{path}/evidence.png").status_code == 200
        assert client.get(path).json() == judged

    def test_ends_when_the_answer_is_asked_for(self, client: TestClient, radiograph: bytes) -> None:
        (said,) = send(client, ("1.png", radiograph), blinded=True)
        path = f"/api/v1/predictions/{said['id']}"
        assert client.get(path, params={"reveal": True}).json()["decision"] == "PNEUMONIA"
        judged = client.post(f"{path}/feedback", json={"verdict": "NORMAL", "blinded": True}).json()
        assert not judged["feedback"][0]["blinded"], "the reader has seen the answer before"

    def test_shows_refusals(self, client: TestClient) -> None:
        (said,) = send(client, ("blank.png", encode(np.full((200, 200), 99, np.uint8))), blinded=True)
        assert (said["status"], said["hidden"]) == ("refused", False)


class TestFeedback:
    def test_adds_up(self, client: TestClient, radiograph: bytes) -> None:
        (said,) = send(client, ("1.png", radiograph))
        for verdict in ("PNEUMONIA", "UNSURE"):
            response = client.post(f"/api/v1/predictions/{said['id']}/feedback", json={"verdict": verdict})
        assert [given["verdict"] for given in response.json()["feedback"]] == ["PNEUMONIA", "UNSURE"]

    @pytest.mark.parametrize("content", [{}, {"verdict": "MAYBE"}, {"verdict": "NORMAL", "reader": "x"}, [], None])
    def test_of_another_form_is_a_problem(self, client: TestClient, radiograph: bytes, content: Any) -> None:
        (said,) = send(client, ("1.png", radiograph))
        response = client.post(f"/api/v1/predictions/{said['id']}/feedback", json=content)
        assert (response.status_code, response.json()["code"]) == (422, "invalid")

    def test_that_is_a_book_is_a_problem(self, client: TestClient) -> None:
        response = client.post(f"/api/v1/predictions/{uuid.uuid4()}/feedback", content=b"x" * 100_000)
        assert (response.status_code, response.json()["code"]) == (413, "too_large")

    def test_on_nothing_is_a_problem(self, client: TestClient) -> None:
        response = client.post(f"/api/v1/predictions/{uuid.uuid4()}/feedback", json={"verdict": "NORMAL"})
        assert response.status_code == 404


class TestLoad:
    def test_above_what_the_queue_holds_is_refused_for_now(self, client: TestClient, radiograph: bytes) -> None:
        places = client.app.state.engine._places  # type: ignore[attr-defined]
        while places.acquire(blocking=False):  # take every place, as images that wait do
            pass
        response = client.post("/api/v1/predictions", files={"files": ("1.png", radiograph)})
        assert (response.status_code, response.json()["code"]) == (503, "busy")
        assert int(response.headers["retry-after"]) > 0
        for _ in range(client.app.state.settings.queue):  # type: ignore[attr-defined]
            places.release()
        assert send(client, ("1.png", radiograph))[0]["status"] == "answered"

    def test_that_is_not_answered_in_time_is_a_problem_and_gives_its_place_back(
        self, open_app: Callable[..., TestClient], radiograph: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = open_app(limits=Limits(answer_seconds=0.2), queue=2)
        runtime, released = client.app.state.engine.current.model.runtime, threading.Event()  # type: ignore[attr-defined]
        run = runtime.run
        monkeypatch.setattr(runtime, "run", lambda squares: (released.wait(30), run(squares))[1])
        for _ in range(4):
            response = client.post("/api/v1/predictions", files={"files": ("1.png", radiograph)})
            assert (response.status_code, response.json()["code"]) == (504, "slow_answer")
        released.set()
        monkeypatch.undo()
        assert send(client, ("1.png", radiograph))[0]["status"] == "answered"


class TestService:
    def test_tells_of_its_model(self, client: TestClient) -> None:
        told = client.get("/api/v1/model").json()
        assert (told["kind"], told["image_size"], told["threshold"]) == ("cnn", bright.SIZE, 0.5)
        assert "nothing about patients" in told["limits"]
        assert "75%" in told["limits"], "share of PNEUMONIA in the test set of the bundle's lineage"
        assert told["judgement"] is None
        assert told["swap"]["failed"] is None

    def test_shows_the_evaluation_of_this_operating_point_only(
        self, open_app: Callable[..., TestClient], tmp_path: Any
    ) -> None:
        folder = bright.write_bundle(tmp_path / "judged", slope=0.02, data=PHANTOMS).folder
        found = {"images": {"NORMAL": 3}, "patients": {"NORMAL": 2}, "figures": {"roc_auc": {"value": 0.9}}}
        judgement = {"operating_point": {"threshold": 0.5}, "subsets": {"test": found | {"slices": {}}}}
        (folder / "reports").mkdir()
        (folder / "reports/judgement.json").write_text(json.dumps(judgement))
        client = open_app(bundle=folder)
        assert client.get("/api/v1/model").json()["judgement"] == {"test": found}
        judgement["operating_point"] = {"threshold": 0.6}
        (folder / "reports/judgement.json").write_text(json.dumps(judgement))
        assert client.get("/api/v1/model").json()["judgement"] is None

    def test_is_ready_only_with_its_database(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        assert client.get("/readyz").json()["model"]["name"] == "bright"

        def fail() -> None:
            raise OSError

        monkeypatch.setattr(client.app.state.store, "check", fail)  # type: ignore[attr-defined]
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200

    def test_counts_what_it_does(self, client: TestClient, radiograph: bytes) -> None:
        (said, *_) = send(
            client,
            ("1.png", radiograph),
            ("2.png", dark()),
            ("3.html", b"<html>"),
            ("4.png", b"none"),
        )
        client.post(f"/api/v1/predictions/{said['id']}/feedback", json={"verdict": "NORMAL"})
        client.get("/nowhere/DOE_JANE")
        counted = client.get("/metrics").text
        for line in (
            'pneumonia_images_total{decision="PNEUMONIA",status="answered"} 1.0',
            'pneumonia_images_total{decision="NORMAL",status="answered"} 1.0',
            'pneumonia_refusals_total{code="unreadable"} 2.0',
            'pneumonia_feedback_total{verdict="NORMAL"} 1.0',
            "pneumonia_score_count 2.0",
            'pneumonia_requests_total{method="POST",route="/api/v1/predictions",status="200"} 1.0',
            'pneumonia_request_seconds_count{route="/api/v1/predictions"} 1.0',
            "pneumonia_model_swap_failed 0.0",
        ):
            assert line in counted, line
        assert 'pneumonia_model{bundle_sha256="' in counted
        assert "DOE" not in counted
