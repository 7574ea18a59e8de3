import json
import shutil
import sys
from pathlib import Path

import pytest
from mlflow.entities.model_registry import ModelVersion

from pipeline import register
from pneumonia import config, tracking
from pneumonia.errors import TrackingError
from pneumonia.models import bundle as bundles
from pneumonia.tracking import RunDescription
from tests import bright, evidence

PARAMS = config.load(Path(__file__).parents[2] / "params.yaml")
DATA = bundles.DataLineage("phantom", "drawn", "5e" * 32, {"train": {"NORMAL": 3, "PNEUMONIA": 9}})
METRICS = {
    "cnn": {
        "validation": {"roc_auc": 0.90, "f1": 0.9},
        "swapped": {"roc_auc": 0.80, "f1": 0.9},
        "test": {"roc_auc": 0.95, "f1": 0.7},
    },
    "probe": {
        "validation": {"roc_auc": 0.89, "f1": 0.6},
        "swapped": {"roc_auc": 0.85, "f1": 0.6},
        "test": {"roc_auc": 0.75, "f1": 0.6},
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which two models have been trained and evaluated."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store = tracking.open_store(root)
    for bias, model in enumerate(METRICS):
        train(store, root, model, bias)
    (root / "reports/metrics.json").write_text(json.dumps(METRICS))
    return root


@pytest.fixture
def project(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))  # MLflow adds the code of each model that it loads
    return trained


def train(store: tracking.Store, root: Path, name: str, bias: int) -> None:
    with tracking.start_run(store, RunDescription(name, name, DATA, {"bias": bias}, None)) as run:
        bundle = bright.write_bundle(
            root / "artifacts/models" / name,
            slope=0.01,
            bias=float(bias),
            name=name,
            kind=name,
            validation=METRICS[name]["validation"],
            data=DATA,
            parameters={"bias": bias},
            git_commit=None,
            mlflow_run_id=run.run_id,
        )
        run.log_bundle(bundle)
    evidence.write(root / "reports", bundle)
    reports = root / "reports/train" / name
    reports.mkdir(parents=True)
    (reports / "history.csv").write_text("epoch,loss\n0,0.7\n1,0.5\n")
    (reports / "curves.png").write_bytes(b"png")


def challenger(root: Path) -> ModelVersion:
    return tracking.open_store(root).client.get_model_version_by_alias("pneumonia-classifier", "challenger")


def test_registers_the_best_on_validation(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register.main(PARAMS)

    probe = bundles.read(project / "artifacts/models/probe").card
    assert json.loads((project / "reports/registered.json").read_text()) == {
        "name": "pneumonia-classifier",
        "alias": "challenger",
        "model": "probe",
        "metric": "roc_auc",
        "subset": "swapped",
        "swapped": {"roc_auc": 0.85, "f1": 0.6},
        "source": "phantom",
        "data_hash": "5e" * 32,
        "bundle_sha256": probe.model_sha256,
    }
    version = challenger(project)
    assert (int(version.version), version.run_id) == (1, probe.mlflow_run_id)
    assert "models:/pneumonia-classifier@challenger" in capsys.readouterr().out

    by_f1 = PARAMS.model_copy(update={"register_": PARAMS.register_.model_copy(update={"metric": "f1"})})
    register.main(by_f1)
    assert json.loads((project / "reports/registered.json").read_text())["model"] == "cnn"


def test_in_a_fresh_clone_logs_the_runs_again_and_reports_the_same(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.main(PARAMS)
    clone = tmp_path / "clone"
    shutil.copytree(project / "artifacts", clone / "artifacts")
    shutil.copytree(project / "reports", clone / "reports")
    monkeypatch.chdir(clone)
    register.main(PARAMS)
    register.main(PARAMS)

    assert (clone / "reports/registered.json").read_bytes() == (project / "reports/registered.json").read_bytes()
    marker = "mlruns/registered.json"
    assert (clone / marker).read_bytes() == (project / marker).read_bytes(), "dvc.lock would change in every clone"
    version = challenger(clone)
    assert int(version.version) == 1
    store = tracking.open_store(clone)
    runs = store.client.search_runs([store.experiment_id], "tags.restored = 'true'")
    assert {run.info.run_name for run in runs} == {"cnn (phantom)", "probe (phantom)"}
    restored = store.client.get_run(version.run_id)
    assert restored.data.metrics["test/roc_auc"] == 0.75
    assert [m.step for m in store.client.get_metric_history(version.run_id, "loss")] == [0, 1]


def test_without_an_evaluation_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match="dvc repro evaluate"):
        register.main(PARAMS)
