"""The REST API: predictions of all formats, images, feedback, withheld results, and the endpoints for operators."""

import io
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import golden
from pneumonia.core import files
from pneumonia.images.decode import decode
from pneumonia.inference.runtime import Runtime
from pneumonia.registry.resolve import RELEASE_EVALUATION
from pneumonia.serving.settings import RequestLimits
from tests.support import bright
from tests.support.evaluations import evaluation_report
from tests.unit.serving.conftest import PHANTOMS, draw, encode, send


def dark() -> bytes:
    """An image with contrast and a low mean grey level."""
    pixels = np.full((160, 160), 10, np.uint8)
    pixels[:, :40] = 90
    return encode(pixels)


class TestPredictions:
    def test_equal_those_of_the_runtime_for_every_format(self, client: TestClient, bundle: Path) -> None:
        images = golden.images()
        predictions = send(client, *images.items())
        readings = Runtime.load(bundle).run(np.stack([decode(content, bright.SIZE) for content in images.values()]))
        assert [entry["file"] for entry in predictions] == list(images)
        assert [entry["decision"] for entry in predictions] == [reading.label for reading in readings]
        expected = [reading.probability for reading in readings]
        assert [entry["probability"] for entry in predictions] == pytest.approx(expected, abs=1e-6)
        assert {entry["image"]["format"] for entry in predictions} == {"JPEG", "PNG", "DICOM"}

    def test_include_the_model_and_the_observed_frequency(self, client: TestClient, radiograph: bytes) -> None:
        (prediction,) = send(client, ("1.png", radiograph))
        sha256 = bundles.read(client.app.state.settings.bundle).card.sha256  # type: ignore[attr-defined]
        assert prediction["model"] | {"origin": ""} == {
            "name": "bright",
            "version": None,
            "origin": "",
            "bundle_sha256": sha256,
            "data": "phantom drawn",
            "is_phantom": True,
        }
        assert prediction["meaning"] == {"share": 0.9, "low": 0.8, "high": 0.95, "images": 40}
        assert (prediction["threshold"], prediction["band"]) == (0.5, {"low": 0.5, "high": 0.5})
        height, width = draw(1).shape
        assert prediction["image"] == {"format": "PNG", "width": width, "height": height, "view": None}

    def test_can_be_requested_again(self, client: TestClient, radiograph: bytes) -> None:
        (prediction,) = send(client, ("1.png", radiograph))
        assert client.get(f"/api/v1/predictions/{prediction['id']}").json() == prediction

    def test_close_to_the_operating_point_are_indeterminate(
        self, open_app: Callable[..., TestClient], tmp_path: Any, radiograph: bytes
    ) -> None:
        wide = bright.write_bundle(tmp_path / "wide-band", slope=0.02, data=PHANTOMS, band=bundles.Band(0.01, 0.99))
        (prediction,) = send(open_app(bundle=wide.folder), ("1.png", radiograph))
        assert prediction["decision"] == "INDETERMINATE"
        assert 0.01 <= prediction["probability"] < 0.99

    def test_of_refused_images_have_a_reason_and_no_result(
        self, open_app: Callable[..., TestClient], tmp_path: Any, radiograph: bytes
    ) -> None:
        strict = bright.write_bundle(tmp_path / "strict", slope=0.02, data=PHANTOMS, minimum_familiarity=2.0)
        unfamiliar, blank, small = send(
            open_app(bundle=strict.folder),
            ("unfamiliar.png", radiograph),
            ("blank.png", encode(np.full((200, 200), 99, np.uint8))),
            ("small.png", encode(draw(1)[:50, :50])),
        )
        assert [entry["refusal"]["code"] for entry in (blank, small)] == ["blank", "too_small"]
        assert unfamiliar["refusal"]["code"] in ("unfamiliar", "not_a_radiograph")
        for entry in (unfamiliar, blank, small):
            assert entry["status"] == "refused"
            assert entry["decision"] is entry["probability"] is entry["meaning"] is None
            assert entry["refusal"]["reason"]

    def test_of_an_unknown_id_are_a_problem(self, client: TestClient) -> None:
        for path in ("", "/image.png", "/thumbnail.png", "/evidence.png"):
            response = client.get(f"/api/v1/predictions/{uuid.uuid4()}{path}")
            assert (response.status_code, response.json()["code"]) == (404, "unknown_prediction")
            assert client.get(f"/api/v1/predictions/17{path}").status_code == 422


class TestImages:
    def test_are_the_decoded_image_its_thumbnail_and_the_heat_map(self, client: TestClient) -> None:
        pixels = draw(4, size=300)
        (prediction,) = send(client, ("1.png", encode(pixels)))
        image, thumbnail, evidence = (
            Image.open(io.BytesIO(client.get(f"/api/v1/predictions/{prediction['id']}/{name}.png").content))
            for name in ("image", "thumbnail", "evidence")
        )
        np.testing.assert_array_equal(np.asarray(image), pixels)
        assert max(thumbnail.size) == 160
        assert thumbnail.width / thumbnail.height == pytest.approx(image.width / image.height, rel=0.02)
        assert (evidence.mode, evidence.size) == ("RGBA", (bright.SIZE, bright.SIZE))

    def test_heat_map_is_transparent_without_evidence(self, client: TestClient) -> None:
        pixels = np.zeros((160, 160), np.uint8)
        pixels[:, 80:] = 250
        (prediction,) = send(client, ("half.png", encode(pixels)))
        evidence = Image.open(io.BytesIO(client.get(f"/api/v1/predictions/{prediction['id']}/evidence.png").content))
        opacity = np.asarray(evidence)[..., 3]
        assert opacity[:, :4].max() == 0
        assert opacity[:, -4:].min() > 200

    def test_are_removed_when_the_cache_is_full_but_the_prediction_stays(
        self, open_app: Callable[..., TestClient], radiograph: bytes
    ) -> None:
        client = open_app(image_cache_bytes=int(2.5 * (len(radiograph) + bright.SIZE**2)))
        predictions = send(client, *((f"{number}.png", radiograph) for number in range(3)))
        statuses = [client.get(f"/api/v1/predictions/{entry['id']}/image.png").status_code for entry in predictions]
        assert statuses == [410, 200, 200]
        first = client.get(f"/api/v1/predictions/{predictions[0]['id']}").json()
        assert first == predictions[0] | {"file": ""}

    def test_of_refused_images_have_no_heat_map(self, client: TestClient) -> None:
        (prediction,) = send(client, ("blank.png", encode(np.full((200, 200), 99, np.uint8))))
        assert client.get(f"/api/v1/predictions/{prediction['id']}/thumbnail.png").status_code == 200
        assert client.get(f"/api/v1/predictions/{prediction['id']}/evidence.png").status_code == 409


class TestBlindedReading:
    withheld = ("decision", "probability", "familiarity", "meaning")

    def test_withholds_the_result_until_the_verdict(self, client: TestClient, radiograph: bytes) -> None:
        (prediction,) = send(client, ("1.png", radiograph), blinded=True)
        path = f"/api/v1/predictions/{prediction['id']}"
        for entry in (prediction, client.get(path).json()):
            assert entry["hidden"]
            assert [entry[name] for name in self.withheld] == [None] * 4
        assert client.get(f"{path}/evidence.png").status_code == 409
        assert client.get(f"{path}/image.png").status_code == 200
        assessed = client.post(f"{path}/feedback", json={"verdict": "NORMAL", "blinded": True}).json()
        assert assessed["decision"] == "PNEUMONIA"
        assert [(verdict["verdict"], verdict["blinded"]) for verdict in assessed["feedback"]] == [("NORMAL", True)]
        assert client.get(f"{path}/evidence.png").status_code == 200
        assert client.get(path).json() == assessed

    def test_ends_when_the_result_is_requested(self, client: TestClient, radiograph: bytes) -> None:
        (prediction,) = send(client, ("1.png", radiograph), blinded=True)
        path = f"/api/v1/predictions/{prediction['id']}"
        assert client.get(path, params={"reveal": True}).json()["decision"] == "PNEUMONIA"
        assessed = client.post(f"{path}/feedback", json={"verdict": "NORMAL", "blinded": True}).json()
        assert not assessed["feedback"][0]["blinded"], "the result was shown before"

    def test_does_not_withhold_refusals(self, client: TestClient) -> None:
        (prediction,) = send(client, ("blank.png", encode(np.full((200, 200), 99, np.uint8))), blinded=True)
        assert (prediction["status"], prediction["hidden"]) == ("refused", False)


class TestFeedback:
    def test_is_appended(self, client: TestClient, radiograph: bytes) -> None:
        (prediction,) = send(client, ("1.png", radiograph))
        for verdict in ("PNEUMONIA", "UNSURE"):
            response = client.post(f"/api/v1/predictions/{prediction['id']}/feedback", json={"verdict": verdict})
        assert [verdict["verdict"] for verdict in response.json()["feedback"]] == ["PNEUMONIA", "UNSURE"]

    @pytest.mark.parametrize("content", [{}, {"verdict": "MAYBE"}, {"verdict": "NORMAL", "reader": "x"}, [], None])
    def test_with_another_schema_is_a_problem(self, client: TestClient, radiograph: bytes, content: Any) -> None:
        (prediction,) = send(client, ("1.png", radiograph))
        response = client.post(f"/api/v1/predictions/{prediction['id']}/feedback", json=content)
        assert (response.status_code, response.json()["code"]) == (422, "invalid")

    def test_that_is_too_large_is_a_problem(self, client: TestClient) -> None:
        response = client.post(f"/api/v1/predictions/{uuid.uuid4()}/feedback", content=b"x" * 100_000)
        assert (response.status_code, response.json()["code"]) == (413, "too_large")

    def test_on_an_unknown_prediction_is_a_problem(self, client: TestClient) -> None:
        response = client.post(f"/api/v1/predictions/{uuid.uuid4()}/feedback", json={"verdict": "NORMAL"})
        assert response.status_code == 404


class TestLoad:
    def test_with_a_full_queue_is_rejected(self, client: TestClient, radiograph: bytes) -> None:
        slots = client.app.state.batcher._slots  # type: ignore[attr-defined]
        while slots.acquire(blocking=False):  # take all slots, as waiting images do
            pass
        response = client.post("/api/v1/predictions", files={"files": ("1.png", radiograph)})
        assert (response.status_code, response.json()["code"]) == (503, "busy")
        assert int(response.headers["retry-after"]) > 0
        for _ in range(client.app.state.settings.queue_size):  # type: ignore[attr-defined]
            slots.release()
        assert send(client, ("1.png", radiograph))[0]["status"] == "answered"

    def test_that_takes_too_long_is_a_problem_and_frees_its_slot(
        self, open_app: Callable[..., TestClient], radiograph: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = open_app(limits=RequestLimits(answer_seconds=0.2), queue_size=2)
        runtime, released = client.app.state.batcher.active.model.runtime, threading.Event()  # type: ignore[attr-defined]
        run = runtime.run
        monkeypatch.setattr(runtime, "run", lambda squares: (released.wait(30), run(squares))[1])
        for _ in range(4):
            response = client.post("/api/v1/predictions", files={"files": ("1.png", radiograph)})
            assert (response.status_code, response.json()["code"]) == (504, "slow_answer")
        released.set()
        monkeypatch.undo()
        assert send(client, ("1.png", radiograph))[0]["status"] == "answered"


class TestService:
    def test_describes_its_model(self, client: TestClient) -> None:
        details = client.get("/api/v1/model").json()
        assert (details["kind"], details["image_size"], details["threshold"]) == ("cnn", bright.SIZE, 0.5)
        assert "not valid for patients" in details["limits"]
        assert "75%" in details["limits"], "share of PNEUMONIA in the test set"
        assert details["evaluation"] is None
        assert details["swap"]["failed"] is None

    def test_shows_the_evaluation_of_this_bundle_only(
        self, open_app: Callable[..., TestClient], bundle: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "evaluated"
        shutil.copytree(bundle, folder)
        report = evaluation_report(bundles.read(folder).card, {"NORMAL": 3}, {"roc_auc": 0.9})
        file = folder / RELEASE_EVALUATION
        files.write_json(file, report)
        client = open_app(bundle=folder)
        test = client.get("/api/v1/model").json()["evaluation"]["test"]
        assert (test["images"], test["patients"]) == ({"NORMAL": 3}, {"NORMAL": 3})
        assert test["figures"]["roc_auc"]["value"] == 0.9
        files.write_json(file, report.model_copy(update={"bundle_sha256": "ab" * 32}))
        assert client.get("/api/v1/model").json()["evaluation"] is None

    def test_is_ready_only_with_its_database(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        assert client.get("/readyz").json()["model"]["name"] == "bright"

        def fail() -> None:
            raise OSError

        monkeypatch.setattr(client.app.state.store, "check", fail)  # type: ignore[attr-defined]
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200

    def test_counts_requests_images_and_feedback(self, open_app: Callable[..., TestClient], radiograph: bytes) -> None:
        client = open_app()
        (prediction, *_) = send(
            client,
            ("1.png", radiograph),
            ("2.png", dark()),
            ("3.html", b"<html>"),
            ("4.png", b"none"),
        )
        client.post(f"/api/v1/predictions/{prediction['id']}/feedback", json={"verdict": "NORMAL"})
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
