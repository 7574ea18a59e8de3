"""The package in Kubeflow's local runner, held against `dvc repro` on the same inputs."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import demo, kubeflow_dag, pod, project
from pneumonia import tracking

TINIEST = (
    "data.phantom.patients=24",
    "data.phantom.size=96",
    "validate.minimum_pixels=50",
    "split.folds=3",
    "prepare.size=64",
    "~train.models.cnn_narrow",
    "train.models.cnn.filters=[4]",
    "train.models.cnn.epochs=1",
    "evaluate.bootstrap.resamples=100",
    "explain.cases=1",
    "kubeflow.pods.download.retries=0",
    "kubeflow.mlflow_ui='http://name:secret@mlflow.example/'",
)


class Run:
    """What `python -m pipeline.kubeflow run` did in a folder."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        changes = [argument for override in overrides for argument in ("-S", override)]
        command = [sys.executable, "-m", "pipeline.kubeflow", "run", "--phantom", "--folder", str(folder), *changes]
        done = subprocess.run(
            command,
            cwd=project.ROOT,
            env=demo.environment(project.ROOT),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        self.folder, self.status, self.output = folder, done.returncode, done.stdout

    def task(self, name: str) -> Path:
        """The folder of a task; it may not be there."""
        (tasks,) = (self.folder / "tasks").iterdir()
        return tasks / name

    def told(self, task: str) -> Any:
        """What a task has told Kubeflow."""
        return json.loads((self.task(task) / "executor_output.json").read_text())

    def artifact(self, task: str, name: str) -> dict[str, Any]:
        metadata: dict[str, Any] = self.told(task)["artifacts"][name]["artifacts"][0]["metadata"]
        return metadata

    def record(self) -> dict[str, Any]:
        (file,) = (self.folder / "remote/kubeflow").glob("*/run.json")
        content: dict[str, Any] = json.loads(file.read_text())
        return content


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("kubeflow"), *TINIEST)
    assert run.status == 0, run.output[-4000:]
    return run


@pytest.fixture(scope="module")
def reports(finished: Run) -> dict[str, bytes]:
    """Every report that the tasks have made, from the remote."""
    tasks = [stage.name.replace("@", "-") for stage in kubeflow_dag.read(finished.folder)]
    made = pod.decoded(" ".join(finished.told(task)["parameterValues"]["Output"] for task in tasks))
    small = [path for path in made if path.startswith("reports/")]
    params = json.dumps(yaml.safe_load((finished.folder / "params.yaml").read_text()))
    with pod.workspace(pod.Work("", params, str(finished.folder / "remote"), "")) as folder:
        pod.fetch(folder, made, small)
        return contents(folder)


def without_hash(reports: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the hash of the model's file, in which Keras notes when it was written."""
    digest = json.loads(reports["reports/registered.json"])["bundle_sha256"].encode()
    return {name: content.replace(digest, b"") for name, content in reports.items()}


def test_same_reports_as_dvc_repro(finished: Run, reports: dict[str, bytes], tmp_path: Path) -> None:
    demo.make_project(tmp_path / "laptop", {})
    shutil.copyfile(finished.folder / "params.yaml", tmp_path / "laptop/params.yaml")
    command = [sys.executable, "-m", "dvc", "repro"]
    subprocess.run(
        command, cwd=tmp_path / "laptop", env=demo.environment(tmp_path / "laptop"), check=True, capture_output=True
    )
    expected = without_hash(contents(tmp_path / "laptop"))
    assert set(reports) == set(expected)
    assert {name for name, content in without_hash(reports).items() if content != expected[name]} == set()


def test_kubeflow_shows_how_the_model_was_judged(finished: Run, reports: dict[str, bytes]) -> None:
    metrics = json.loads(reports["reports/metrics.json"])["cnn"]
    assert finished.artifact("show-cnn", "figures") == {
        f"{subset}/{name}": value for subset, values in metrics.items() for name, value in values.items()
    }
    curves = finished.artifact("show-cnn", "curves")
    matrix = [row["row"] for row in curves["confusionMatrix"]["rows"]]
    assert [matrix[1][1] / sum(matrix[1]), matrix[0][0] / sum(matrix[0])] == pytest.approx(
        [metrics["test"]["sensitivity"], metrics["test"]["specificity"]]
    )
    points = [(p["falsePositiveRate"], p["recall"]) for p in curves["confidenceMetrics"]]
    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    area = sum((x - w) * (y + v) / 2 for (w, v), (x, y) in itertools.pairwise(points))
    assert area == pytest.approx(metrics["test"]["roc_auc"])


def test_task_and_mlflow_run_name_each_other(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = tracking.open_store(finished.folder)
    (run,) = store.client.search_runs([store.experiment_id])
    assert run.data.tags["kubeflow_run"] == finished.record()["run"]
    link = f"[{run.info.run_id}](http://mlflow.example/#/experiments/{store.experiment_id}/runs/{run.info.run_id})"
    for page in ("train-cnn", "show-cnn"):
        assert link in (finished.task(page) / "page").read_text()


def test_good_run_is_recorded_without_failures(finished: Run) -> None:
    assert (finished.record()["state"], finished.record()["failures"]) == ("SUCCEEDED", [])


def test_failing_stage_fails_the_run_with_its_message_and_stops_what_needs_it(tmp_path: Path) -> None:
    failed = Run(tmp_path, *TINIEST, "data.source=/no/such/folder")
    assert failed.status == 1
    assert "error: data.source" in failed.output
    assert failed.output.splitlines()[-1].startswith("What the stage said is above")
    assert not (failed.task("validate")).exists()
    (failure,) = failed.record()["failures"]
    assert (failed.record()["state"], failure["stage"]) == ("FAILED", "download")
    assert "error: data.source" in failure["message"]
    assert failure["message"] in (failed.task("record") / "page").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    """Every report of a project by path."""
    files = (file for file in (folder / "reports").rglob("*") if file.is_file() and file.name != ".gitignore")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
