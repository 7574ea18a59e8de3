"""Registration: a bundle becomes a version and the challenger, and its logged model answers like the bundle."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from pneumonia.bundle import bundle as bundles
from pneumonia.core.errors import BundleError
from pneumonia.inference.runtime import Runtime
from pneumonia.registry import logged_model, registration, tracking
from pneumonia.registry.tracking import RunDescription, RunRecord, Store
from tests.support import bright, evidence, mlflow_store
from tests.unit.registry.conftest import NAME

DATA = bundles.DataLineage("phantom", "drawn", "5e" * 32, {"train": {"NORMAL": 3, "PNEUMONIA": 9}})
METRICS = {"validation": {"roc_auc": 0.91, "f1": 0.82}, "test": {"roc_auc": 0.87}}


@pytest.fixture(scope="module")
def store(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tracking.open_store(mlflow_store.copy(migrated_store, tmp_path_factory.mktemp("project") / "project"))


@dataclass(frozen=True)
class Trained:
    """A bundle, its run and, once downloaded, its logged model."""

    bundle: bundles.Bundle
    run_id: str
    model: Path = Path()


def train(store: Store, folder: Path, *, slope: float, data: bundles.DataLineage = DATA) -> Trained:
    """Write the bundle of a training that was followed in a run, and record it."""
    with tracking.start_run(store, RunDescription("bright", "cnn", data, {"slope": slope}, "c0ffee")) as run:
        bundle = bright.write_bundle(
            folder / "bundle",
            slope=slope,
            threshold=0.6,
            band=bundles.Band(low=0.3, high=0.7),
            validation=METRICS["validation"],
            data=data,
        )
        run.finish_training(bundle.card.model_sha256)
    assert tracking.record(store, RunRecord(bundle, metrics=METRICS)) == run.run_id
    return Trained(bundle, run.run_id)


def register(store: Store, trained: Trained, metrics: Any = METRICS) -> int:
    reports = evidence.write(trained.bundle.folder.parent / "reports", trained.bundle)
    return registration.register(store, trained.bundle, trained.run_id, name=NAME, metrics=metrics, reports=reports)


@pytest.fixture(scope="module")
def registered(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A registered bundle, for tests that only read its version."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))  # MLflow adds the code of each model that it loads
        folder = tmp_path_factory.mktemp("registered")
        trained = train(store, folder, slope=0.017)
        register(store, trained)
        return replace(trained, model=download(store, challenger(store), folder / "model"))


def challenger(store: Store) -> Any:
    return store.client.get_model_version_by_alias(NAME, "challenger")


def download(store: Store, version: Any, folder: Path) -> Path:
    """Fetch the files of a version."""
    from mlflow.artifacts import download_artifacts  # after `tracking`, which keeps MLflow quiet

    logged = store.client.get_logged_model(version.source.removeprefix("models:/"))
    return Path(download_artifacts(logged.artifact_location, dst_path=str(folder)))


class TestRegister:
    def test_creates_a_version_with_lineage_and_metrics(self, store: Store, tmp_path: Path) -> None:
        trained = train(store, tmp_path, slope=0.011)
        bundle = trained.bundle
        before = store.client.get_run(trained.run_id).info
        number = register(store, trained)

        version = challenger(store)
        assert int(version.version) == number
        assert version.run_id == trained.run_id
        assert version.tags == {
            "model": "bright",
            "kind": "cnn",
            "source": "phantom",
            "release": "drawn",
            "phantom": "true",
            "data_hash": "5e" * 32,
            "git_commit": "c0ffee",
            "bundle_sha256": bundle.card.sha256,
            "audit": "pass",
            "data_alarm": "false",
            "validation/roc_auc": "0.9100",
            "validation/f1": "0.8200",
            "test/roc_auc": "0.8700",
        }
        assert "do not apply to patients" in version.description
        assert "| roc_auc | 0.9100 | 0.8700 |" in version.description
        assert "| f1 | 0.8200 |  |" in version.description
        after = store.client.get_run(trained.run_id)
        assert (after.info.status, after.info.end_time) == (before.status, before.end_time)
        assert len(after.outputs.model_outputs) == 1

    def test_of_radiographs_is_not_marked_as_phantom(self, store: Store, tmp_path: Path) -> None:
        register(store, train(store, tmp_path, slope=0.012, data=replace(DATA, source="kermany")))
        assert "phantom" not in challenger(store).tags
        assert "do not apply to patients" not in challenger(store).description

    def test_of_the_same_bundle_keeps_the_version_and_updates_its_metrics(self, store: Store, tmp_path: Path) -> None:
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
        with pytest.raises(BundleError, match="pinned probabilities of the golden images"):
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
    def test_answers_in_a_new_process_as_the_bundle_does(
        self, store: Store, registered: Trained, tmp_path: Path
    ) -> None:
        version = next(
            v for v in store.client.search_model_versions(f"name = '{NAME}'") if v.run_id == registered.run_id
        )
        bundle = registered.bundle
        image = logged_model._example()["image"].item()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "image.png").write_bytes(image)
        script = """
import base64, mlflow, pandas as pd, pathlib
import sys
model = mlflow.pyfunc.load_model(f"models:/pneumonia-classifier/{sys.argv[1]}")
image = pathlib.Path("image.png").read_bytes()
for given in image, base64.b64encode(image).decode():
    print(model.predict(pd.DataFrame({"image": [given]})).to_json(orient="records"))
"""
        result = subprocess.run(
            [sys.executable, "-c", script, str(version.version)],
            cwd=elsewhere,
            env=os.environ | {"MLFLOW_TRACKING_URI": store.uri},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        (expected,) = Runtime.load(bundle.folder).predict([image])
        for line in result.stdout.splitlines():
            (answer,) = json.loads(line)
            assert answer["probability"] == pytest.approx(expected.probability, abs=1e-6)
            assert (answer["label"], answer["threshold"]) == (expected.label, 0.6)
            assert answer["indeterminate"] is expected.indeterminate
        assert len(result.stdout.splitlines()) == 2
        assert [path.name for path in elsewhere.iterdir()] == ["image.png"]

    def test_declares_input_and_output_and_has_an_example(self, registered: Trained) -> None:
        from mlflow.pyfunc import load_model, scoring_server

        folder = registered.model
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

    def test_pins_its_requirements(self, registered: Trained) -> None:
        folder = registered.model
        requirements = (folder / "requirements.txt").read_text().split()
        assert f"onnxruntime=={onnxruntime.__version__}" in requirements
        assert all("==" in requirement for requirement in requirements)
