"""The package in Kubeflow's local runner, compared with `dvc repro` in another folder and at another time."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline import demo
from pipeline.kubeflow import __main__ as kubeflow
from pipeline.kubeflow import dag as kubeflow_dag
from pipeline.kubeflow import definition, pod
from pipeline.kubeflow import local as kubeflow_local
from pneumonia.registry import tracking
from tests.support import clock
from tests.support.project import SMALL, Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]
ONE_MODEL = SMALL | {"train": {"models": SMALL["train"]["models"] | {"mobilenetv2": None}}}
SETTINGS = ("kubeflow.pods.download.retries=0", "kubeflow.mlflow_ui='http://name:secret@mlflow.example/'")


class Run:
    """The files of a run in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def task(self, name: str) -> Path:
        """Return the folder of a task, which may not exist."""
        (tasks,) = (self.folder / "tasks").iterdir()
        return tasks / name

    def output(self, task: str) -> Any:
        """Return what a task has reported to Kubeflow."""
        return json.loads((self.task(task) / "executor_output.json").read_text())

    def artifact(self, task: str, name: str) -> dict[str, Any]:
        metadata: dict[str, Any] = self.output(task)["artifacts"][name]["artifacts"][0]["metadata"]
        return metadata

    def record(self) -> dict[str, Any]:
        (file,) = (self.folder / "remote/kubeflow").glob("*/run.json")
        content: dict[str, Any] = json.loads(file.read_text())
        return content


@pytest.fixture
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with one of the models of the project `finished`, its clock 400 days ahead."""
    folder = tmp_path_factory.mktemp("kubeflow")
    demo.make_project(folder, ONE_MODEL)
    definition.override(folder, SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTHONPATH", "MLFLOW_TRACKING_URI"):  # set by the run; restored after it
            patch.setenv(name, "")
        for name, value in clock.environment(days=400).items():
            patch.setenv(name, value)
        kubeflow_local.run_dag(folder)
    return Run(folder)


def test_outputs_are_those_of_dvc_repro_in_another_folder_and_at_another_time(run: Run, copy: Project) -> None:
    """All artifacts and reports, byte for byte: none holds a date, a path or an identifier of its run."""
    (copy.folder / "params.yaml").write_text((run.folder / "params.yaml").read_text())
    copy.dvc("repro")
    names = {stage.name for stage in kubeflow_dag.read(run.folder)}
    lock = yaml.safe_load((copy.folder / "dvc.lock").read_text())["stages"]
    expected = {out["path"]: out["md5"] for name, stage in lock.items() if name in names for out in stage["outs"]}
    outputs = [run.output(name.replace("@", "-").replace("_", "-")) for name in names]
    assert pod.decoded(" ".join(output["parameterValues"]["Output"] for output in outputs)) == expected


def test_kubeflow_shows_metrics_and_curves_of_the_model(run: Run, finished: Project) -> None:
    metrics = finished.json("reports/metrics/cnn.json")
    assert run.artifact("show-cnn", "metrics") == {
        f"{subset}/{name}": value for subset, values in metrics.items() for name, value in values.items()
    }
    curves = run.artifact("show-cnn", "curves")
    matrix = [row["row"] for row in curves["confusionMatrix"]["rows"]]
    assert [matrix[1][1] / sum(matrix[1]), matrix[0][0] / sum(matrix[0])] == pytest.approx(
        [metrics["test"]["sensitivity"], metrics["test"]["specificity"]]
    )
    points = [(p["falsePositiveRate"], p["recall"]) for p in curves["confidenceMetrics"]]
    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    area = sum((x - w) * (y + v) / 2 for (w, v), (x, y) in itertools.pairwise(points))
    assert area == pytest.approx(metrics["test"]["roc_auc"])


@pytest.mark.usefixtures("_environment")
def test_page_of_register_links_the_mlflow_run_which_is_tagged_with_the_kubeflow_run(run: Run) -> None:
    store = tracking.open_store(run.folder)
    (logged,) = store.client.search_runs([store.experiment_id])
    assert logged.data.tags["kubeflow_run"] == run.record()["run"]
    page = f"http://mlflow.example/#/experiments/{store.experiment_id}/runs/{logged.info.run_id}"
    assert f"MLflow run of cnn: [{logged.info.run_id}]({page})" in (run.task("register") / "page").read_text()


def test_successful_run_is_recorded_without_failures(run: Run) -> None:
    assert (run.record()["state"], run.record()["failures"]) == ("SUCCEEDED", [])


@pytest.mark.usefixtures("_environment")
def test_failed_stage_fails_the_run_with_its_message_and_stops_later_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    overrides = [f"-S{setting}" for setting in (*SETTINGS, "data.source=/no/such/folder")]
    failed = CliRunner().invoke(kubeflow.main, ["run", "--phantom", "--folder", str(tmp_path), *overrides])
    assert failed.exit_code == 1
    assert "The message of the stage is above" in failed.output
    run = Run(tmp_path)
    assert not run.task("validate").exists()
    (failure,) = run.record()["failures"]
    assert (run.record()["state"], failure["stage"]) == ("FAILED", "download")
    assert "error: data.source" in failure["message"]
    assert failure["message"] in (run.task("record") / "page").read_text()
