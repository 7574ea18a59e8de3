import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import pytest

from pneumonia import tracking
from pneumonia.errors import TrackingError
from pneumonia.inference.predictor import Predictor
from pneumonia.models import bundle as bundles
from pneumonia.registry import logged_model, registration
from pneumonia.tracking import RunDescription, Store
from tests import bright, evidence

NAME = "pneumonia-classifier"
DATA = bundles.DataLineage("phantom", "drawn", "5e" * 32, {"train": {"NORMAL": 3, "PNEUMONIA": 9}})
METRICS = {"validation": {"roc_auc": 0.91, "f1": 0.82}, "test": {"roc_auc": 0.87}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tracking.open_store(tmp_path_factory.mktemp("a project"))


@pytest.fixture(autouse=True)
def _import_path_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow puts the code of each model that it loads in front of sys.path for good."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def train(store: Store, folder: Path, *, slope: float, data: bundles.DataLineage = DATA) -> bundles.Bundle:
    """Make a bundle, in a run of its own, that calls bright images pneumonia."""
    with tracking.start_run(store, RunDescription("bright", "cnn", data, {"slope": slope}, "c0ffee")) as run:
        bundle = bright.write_bundle(
            folder / "bundle",
            slope=slope,
            threshold=0.6,
            band=bundles.Band(0.3, 0.7),
            validation=METRICS["validation"],
            data=data,
            mlflow_run_id=run.run_id,
        )
        run.log_bundle(bundle)
    return bundle


def register(store: Store, bundle: bundles.Bundle, metrics: Any = METRICS) -> int:
    reports = evidence.write(bundle.folder.parent / "reports", bundle)
    run_id = bundle.card.mlflow_run_id
    return registration.register(store, bundle, run_id, name=NAME, metrics=metrics, reports=reports)


def challenger(store: Store) -> Any:
    return store.client.get_model_version_by_alias(NAME, "challenger")


def download(store: Store, version: Any, folder: Path) -> Path:
    """Fetch the files of a version."""
    from mlflow.artifacts import download_artifacts  # after `tracking`, which keeps MLflow quiet

    logged = store.client.get_logged_model(version.source.removeprefix("models:/"))
    return Path(download_artifacts(logged.artifact_location, dst_path=str(folder)))


class TestRegister:
    def test_makes_a_version_with_lineage_and_figures(self, store: Store, tmp_path: Path) -> None:
        bundle = train(store, tmp_path, slope=0.011)
        before = store.client.get_run(bundle.card.mlflow_run_id).info
        number = register(store, bundle)

        version = challenger(store)
        assert int(version.version) == number
        assert version.run_id == bundle.card.mlflow_run_id
        assert version.tags == {
            "model": "bright",
            "kind": "cnn",
            "source": "phantom",
            "release": "drawn",
            "phantom": "true",
            "data_hash": "5e" * 32,
            "git_commit": "c0ffee",
            "bundle_sha256": bundle.card.model_sha256,
            "card_sha256": hashlib.sha256((bundle.folder / "bundle.json").read_bytes()).hexdigest(),
            "audit": "pass",
            "data_alarm": "false",
            "validation/roc_auc": "0.9100",
            "validation/f1": "0.8200",
            "test/roc_auc": "0.8700",
        }
        assert "nothing about patients" in version.description
        assert "| roc_auc | 0.9100 | 0.8700 |" in version.description
        assert "| f1 | 0.8200 |  |" in version.description
        after = store.client.get_run(bundle.card.mlflow_run_id)
        assert (after.info.status, after.info.end_time) == (before.status, before.end_time)
        assert len(after.outputs.model_outputs) == 1

    def test_of_radiographs_is_not_marked_as_phantom(self, store: Store, tmp_path: Path) -> None:
        register(store, train(store, tmp_path, slope=0.012, data=replace(DATA, source="kermany")))
        assert "phantom" not in challenger(store).tags
        assert "nothing about patients" not in challenger(store).description

    def test_of_the_same_bundle_keeps_the_version_and_renews_its_figures(self, store: Store, tmp_path: Path) -> None:
        for folder in ("first", "other"):
            (tmp_path / folder).mkdir()
        first = train(store, tmp_path / "first", slope=0.013)
        number = register(store, first)
        other = register(store, train(store, tmp_path / "other", slope=0.014))
        assert other == number + 1
        assert int(challenger(store).version) == other

        assert register(store, first, {**METRICS, "test": {"roc_auc": 0.5}}) == number
        assert int(challenger(store).version) == number
        assert challenger(store).tags["test/roc_auc"] == "0.5000"

    def test_leaves_the_alias_when_the_model_cannot_answer(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "good").mkdir()
        good = register(store, train(store, tmp_path / "good", slope=0.015))
        with pytest.raises(TrackingError, match="nan"):
            register(store, train(store, tmp_path, slope=float("nan")))
        assert int(challenger(store).version) == good
        assert len(store.client.search_model_versions(f"name = '{NAME}'", order_by=["version_number DESC"])) == good

    def test_leaves_the_process_without_a_current_store(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        register(store, train(store, tmp_path, slope=0.016))
        assert "MLFLOW_TRACKING_URI" not in os.environ
        assert list(elsewhere.iterdir()) == []


class TestLoggedModel:
    def test_answers_in_a_fresh_process_as_the_predictor_does(self, store: Store, tmp_path: Path) -> None:
        bundle = train(store, tmp_path, slope=0.017)
        register(store, bundle)
        image = logged_model._example()["image"].item()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "image.png").write_bytes(image)
        script = """
import base64, mlflow, pandas as pd, pathlib
model = mlflow.pyfunc.load_model("models:/pneumonia-classifier@challenger")
image = pathlib.Path("image.png").read_bytes()
for given in image, base64.b64encode(image).decode():
    print(model.predict(pd.DataFrame({"image": [given]})).to_json(orient="records"))
"""
        result = subprocess.run(
            [sys.executable, "-c", script],
            cwd=elsewhere,
            env=os.environ | {"MLFLOW_TRACKING_URI": store.uri},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        (expected,) = Predictor.load(bundle.folder).predict([image])
        for line in result.stdout.splitlines():
            (answer,) = json.loads(line)
            assert answer["probability"] == pytest.approx(expected.probability, abs=1e-6)
            assert (answer["label"], answer["threshold"]) == (expected.label, 0.6)
            assert answer["indeterminate"] is expected.indeterminate
        assert len(result.stdout.splitlines()) == 2
        assert [path.name for path in elsewhere.iterdir()] == ["image.png"]

    def test_declares_its_input_and_output_and_shows_an_example(self, store: Store, tmp_path: Path) -> None:
        from mlflow.pyfunc import load_model, scoring_server

        register(store, train(store, tmp_path, slope=0.018))
        folder = download(store, challenger(store), tmp_path / "model")
        model = load_model(str(folder))
        assert [(c.name, c.type.name) for c in model.metadata.signature.inputs] == [("image", "binary")]
        assert [(c.name, c.type.name) for c in model.metadata.signature.outputs] == [
            ("probability", "double"),
            ("label", "string"),
            ("threshold", "double"),
            ("indeterminate", "boolean"),
        ]
        example = model.input_example["image"].item()
        assert example.startswith(b"\x89PNG")

        text = base64.b64encode(example).decode()
        payload = json.dumps({"dataframe_split": {"columns": ["image"], "data": [[text], [text]]}})
        served = scoring_server.invocations(payload, "application/json", model, model.metadata.get_input_schema())
        assert served.status == 200, served.response
        first, second = json.loads(served.response)["predictions"]
        assert first == second == model.predict(model.input_example).to_dict("records")[0]

    def test_pins_what_it_needs(self, store: Store, tmp_path: Path) -> None:
        register(store, train(store, tmp_path, slope=0.019))
        folder = download(store, challenger(store), tmp_path / "model")
        requirements = (folder / "requirements.txt").read_text().split()
        assert f"keras=={keras.__version__}" in requirements
        assert all("==" in requirement for requirement in requirements)
