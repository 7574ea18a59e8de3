import shutil
import sys
from pathlib import Path

import pytest
from mlflow.entities.model_registry import ModelVersion

from pipeline.params import load
from pipeline.stages import register
from pneumonia.bundle import bundle as bundles
from pneumonia.core import files, paths
from pneumonia.core.errors import EvidenceError
from pneumonia.evaluation.comparison_report import ComparisonReport, Selection
from pneumonia.evaluation.evaluation_report import MetricsReport
from pneumonia.registry import tracking
from pneumonia.registry.registration_report import Registration
from pneumonia.registry.tracking import RunDescription
from pneumonia.training.settings import CnnParams
from tests.support import bright, evidence, readme

CNN = CnnParams(kind="cnn", filters=[4], epochs=1, batch_size=8, learning_rate=0.1)
DATA = bundles.DataLineage("phantom", "drawn", "5e" * 32, {"train": {"NORMAL": 3, "PNEUMONIA": 9}})
METRICS = {
    "cnn": {
        "validation": {"roc_auc": 0.90, "f1": 0.9},
        "aspect_swapped": {"roc_auc": 0.80, "f1": 0.9},
        "test": {"roc_auc": 0.95, "f1": 0.7},
    },
    "probe": {
        "validation": {"roc_auc": 0.89, "f1": 0.6},
        "aspect_swapped": {"roc_auc": 0.85, "f1": 0.6},
        "test": {"roc_auc": 0.75, "f1": 0.6},
    },
}
PARAMS = load(readme.ROOT / "params.yaml")
PARAMS = PARAMS.model_copy(
    update={"train": PARAMS.train.model_copy(update={"models": dict.fromkeys(METRICS, CNN)})},
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which two models have been trained, evaluated and compared; only `probe` has a run in MLflow."""
    root = tmp_path_factory.mktemp("project")
    for bias, model in enumerate(METRICS):
        bundle = bright.write_bundle(
            root / paths.BUNDLES / model,
            slope=0.01,
            bias=float(bias),
            name=model,
            kind="cnn",
            data=DATA,
            parameters={"bias": bias},
        )
        evidence.write(root / paths.REPORTS, bundle)
        files.write_json(root / paths.METRICS / f"{model}.json", MetricsReport(METRICS[model]))
        files.write_text(root / paths.TRAINING_REPORTS / model / "history.csv", "epoch,loss\n0,0.7\n1,0.5\n")
        files.write_text(root / paths.CALIBRATION_REPORTS / f"{model}.json", "{}\n")
        files.write_text(root / paths.PROFILES / f"{model}.parquet", "")
        files.write_text(root / paths.EXPLANATIONS / model / "case_1.png", "")
        if model == "probe":
            with pytest.MonkeyPatch.context() as patch:
                patch.delenv("MLFLOW_TRACKING_URI", raising=False)
                with tracking.start_run(
                    tracking.open_store(root), RunDescription(model, "cnn", DATA, {"bias": bias}, "c0ffee")
                ) as run:
                    run.finish_training(bundle.card.model_sha256)
    selected = Selection(metric="roc_auc", subset="aspect_swapped")
    files.write_json(root / paths.COMPARISON, ComparisonReport(reference="probe", selected_by=selected, models={}))
    return root


@pytest.fixture
def project(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))  # MLflow adds the code of each model that it loads
    return finished


def challenger(root: Path) -> ModelVersion:
    return tracking.open_store(root).client.get_model_version_by_alias("pneumonia-classifier", "challenger")


def test_registers_the_selected_model_with_the_run_that_trained_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register.main(PARAMS)

    probe = bundles.read(project / "artifacts/models/probe").card
    assert files.read_json(project / "reports/registered.json", Registration) == Registration(
        name="pneumonia-classifier",
        alias="challenger",
        model="probe",
        metric="roc_auc",
        subset="aspect_swapped",
        metrics={"roc_auc": 0.85, "f1": 0.6},
        source="phantom",
        data_hash="5e" * 32,
        bundle_sha256=probe.sha256,
    )
    version = challenger(project)
    run = tracking.open_store(project).client.get_run(version.run_id)
    assert int(version.version) == 1
    assert version.tags["git_commit"] == run.data.tags["git_commit"] == "c0ffee"
    assert "restored" not in run.data.tags
    assert "models:/pneumonia-classifier@challenger" in capsys.readouterr().out


def test_a_second_time_adds_no_run_and_no_version(project: Path) -> None:
    register.main(PARAMS)
    store = tracking.open_store(project)
    before = [run.info.run_id for run in store.client.search_runs([store.experiment_id])]
    register.main(PARAMS)
    assert [run.info.run_id for run in store.client.search_runs([store.experiment_id])] == before
    assert int(challenger(project).version) == 1


def test_in_a_fresh_clone_creates_the_runs_and_reports_the_same(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.main(PARAMS)
    clone = tmp_path / "clone"
    shutil.copytree(project / "artifacts", clone / "artifacts")
    shutil.copytree(project / "reports", clone / "reports")
    monkeypatch.chdir(clone)
    register.main(PARAMS)

    assert (clone / "reports/registered.json").read_bytes() == (project / "reports/registered.json").read_bytes()
    version = challenger(clone)
    assert int(version.version) == 1
    store = tracking.open_store(clone)
    runs = store.client.search_runs([store.experiment_id], "tags.restored = 'true'")
    assert {run.info.run_name for run in runs} == {"cnn (phantom)", "probe (phantom)"}
    restored = store.client.get_run(version.run_id)
    assert restored.data.metrics["test/roc_auc"] == 0.75
    assert [m.step for m in store.client.get_metric_history(version.run_id, "loss")] == [0, 1]


def test_without_a_comparison_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvidenceError, match="dvc repro"):
        register.main(PARAMS)
