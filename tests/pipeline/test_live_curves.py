"""Live curves in MLflow never decide whether a training ends well."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowException

from pipeline import live_curves
from pneumonia.arrays.store import ImageStore
from pneumonia.registry import tracking

INDEX = pd.DataFrame({"path": ["a"], "label": ["NORMAL"], "subset": ["train"]})
IMAGES = ImageStore(np.zeros((1, 8, 8), np.uint8), INDEX, "phantom", "7", "0" * 64)
PARAMETERS = {"epochs": 2}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_each_epoch_is_logged_and_the_run_is_marked_with_its_weights(project: Path) -> None:
    with live_curves.follow("cnn", "cnn", IMAGES, PARAMETERS, project / "run_id") as curves:
        curves.log(1, {"loss": 0.7})
        curves.log(2, {"loss": 0.5})
        curves.finish("c0ffee")
    store = tracking.open_store(project)
    run = store.client.get_run((project / "run_id").read_text())
    assert [m.value for m in store.client.get_metric_history(run.info.run_id, "loss")] == [0.7, 0.5]
    assert run.data.tags["network_sha256"] == "c0ffee"
    assert run.info.status == "FINISHED"


def test_an_interrupted_training_resumes_its_run(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), live_curves.follow("cnn", "cnn", IMAGES, PARAMETERS, project / "run_id"):
        raise KeyboardInterrupt
    first = (project / "run_id").read_text()
    with live_curves.follow("cnn", "cnn", IMAGES, PARAMETERS, project / "run_id"):
        pass
    assert (project / "run_id").read_text() == first


def test_a_store_that_cannot_be_opened_does_not_stop_the_training(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (project / "files").as_uri())  # a kind that MLflow no longer supports
    with live_curves.follow("cnn", "cnn", IMAGES, PARAMETERS, project / "run_id") as curves:
        curves.log(1, {"loss": 0.7})
        curves.finish("c0ffee")
    assert "No live curves" in capsys.readouterr().out


def test_a_store_that_fails_later_does_not_stop_the_training(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise MlflowException("no answer")

    with live_curves.follow("cnn", "cnn", IMAGES, PARAMETERS, project / "run_id") as curves:
        monkeypatch.setattr(tracking.Run, "log_metrics", unreachable)
        curves.log(1, {"loss": 0.7})
        curves.log(2, {"loss": 0.5})
    assert capsys.readouterr().out.count("continues without live curves") == 1
