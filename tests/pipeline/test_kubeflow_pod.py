"""Pods of fast stages: their inputs, outputs, errors and the record of their failures."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline import demo, project
from pipeline.kubeflow import __main__ as kubeflow
from pipeline.kubeflow import pod, run_record
from tests.support import bucket
from tests.support.project import SMALL

BUCKET = "radiographs"
SCRIPT = """
import sys
from pipeline.kubeflow import pod
outputs, page = pod.run_stage(pod.RunContext(*sys.argv[1:5]), *sys.argv[5:])
print(page)
print("OUTPUTS", outputs)
"""


@dataclass
class Result:
    """Exit status and output of a pod."""

    status: int
    text: str

    @property
    def outputs(self) -> str:
        """What the pod returned for later pods."""
        assert self.status == 0, self.text
        return self.text.rpartition("OUTPUTS ")[2].strip()

    @property
    def restored(self) -> bool:
        assert self.status == 0, self.text
        return "Restored:" in self.text


@dataclass
class Cluster:
    """Pods that share a remote."""

    remote: str
    endpoint: str
    scratch: Path

    def pod(self, stage: str, inputs: str = "", *, run: str = "1", **data: Any) -> Result:
        """Run a stage as a pod does, in this process."""
        context, text, status = pod.RunContext(*self.context(run, data)), io.StringIO(), 0
        with contextlib.redirect_stdout(text), contextlib.chdir(self.scratch):
            try:
                outputs, page = pod.run_stage(context, stage, inputs)
                print(page)
                print("OUTPUTS", outputs)
            except SystemExit as error:
                print(error.code)
                status = 1
        return Result(status, text.getvalue())

    def process(self, stage: str, inputs: str = "", *, run: str = "1", **data: Any) -> Result:
        """Run a stage as a pod does, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *self.context(run, data), stage, inputs],
            cwd=self.scratch,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Result(done.returncode, done.stdout)

    def context(self, run: str, data: dict[str, Any]) -> tuple[str, str, str, str]:
        params = project.merged(yaml.safe_load((project.ROOT / "params.yaml").read_text()), changes(**data))
        return run, json.dumps(params), self.remote, self.endpoint


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///unused.db")
    monkeypatch.setenv("PYTHONPATH", f"{project.ROOT}/src:{project.ROOT}")


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Pods that share a folder, as on a mounted volume."""
    (tmp_path / "scratch").mkdir()
    return Cluster(str(tmp_path / "volume"), "", tmp_path / "scratch")


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Pods that share a bucket of an S3 server on this machine."""
    for name, value in bucket.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "scratch").mkdir()
    with bucket.serve(BUCKET) as endpoint:
        yield Cluster(f"s3://{BUCKET}/dvc", endpoint, tmp_path / "scratch")


@pytest.mark.slow
def test_pods_exchange_data_through_a_bucket_and_another_machine_reuses_it(s3: Cluster, tmp_path: Path) -> None:
    downloaded = s3.process("download")
    validated = s3.process("validate", downloaded.outputs)
    assert not downloaded.restored
    assert not validated.restored
    assert "a-secret" not in downloaded.text + validated.text
    laptop = laptop_of(tmp_path / "laptop", {"url": s3.remote, "endpointurl": s3.endpoint})
    assert "Running stage" not in dvc(laptop, "repro", "--pull", "validate")
    assert json.loads((laptop / "reports/validation.json").read_text())["success"]
    images = list((laptop / "artifacts/raw").rglob("*.jpeg"))
    assert len(images) == json.loads((laptop / "reports/download.json").read_text())["files"] > 0


def test_results_shared_by_another_machine_are_restored_in_a_pod(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = laptop_of(tmp_path / "laptop", {"url": cluster.remote})
    assert "Running stage 'download'" in dvc(laptop, "repro", "download")
    monkeypatch.chdir(laptop)
    shared = CliRunner().invoke(kubeflow.main, ["share"])
    assert shared.output == "The results of 1 stages are in the remote.\n"
    assert cluster.pod("download").restored


def test_content_that_was_changed_in_the_remote_is_refused(cluster: Cluster) -> None:
    downloaded = cluster.pod("download")
    report = next(entry for entry in downloaded.outputs.split() if entry.startswith("reports/download.json@"))
    digest = report.rpartition("@")[2]
    stored = Path(cluster.remote) / "files/md5" / digest[:2] / digest[2:]
    stored.chmod(0o644)
    stored.write_text(stored.read_text().replace("phantom", "kermany"))
    refused = cluster.process("validate", downloaded.outputs)
    assert refused.status == 1
    assert "reports/download.json" in refused.text
    assert "Content that is missing or was changed there is not used" in refused.text
    assert "Traceback" not in refused.text


def test_message_of_a_failed_stage_is_in_the_record_of_its_run(cluster: Cluster) -> None:
    failed = cluster.process("download", source="/no/such/folder")
    assert failed.status == 1
    assert "Traceback" not in failed.text
    page = run_record.close(cluster.remote, cluster.endpoint, "1", "FAILED", "a task failed")
    record = json.loads((Path(cluster.remote) / "kubeflow/1/run.json").read_text())
    (failure,) = record["failures"]
    assert (record["state"], failure["stage"]) == ("FAILED", "download")
    assert "error: data.source" in failure["message"]
    assert failure["message"] in page
    assert list(cluster.scratch.iterdir()) == [], "a pod deletes its folder"


def test_failed_run_without_messages_is_recorded_as_such(cluster: Cluster) -> None:
    page = run_record.close(cluster.remote, cluster.endpoint, "2", "FAILED", "the pod was evicted")
    assert "No stage wrote a message" in page
    assert "the pod was evicted" in page


def test_concurrent_runs_keep_their_data_apart(cluster: Cluster) -> None:
    def download(seed: int) -> Result:
        return cluster.process("download", run=str(seed), phantom={"seed": seed})

    with ThreadPoolExecutor(2) as both:
        first, second = both.map(download, (1, 2))
    assert first.outputs != second.outputs
    again = cluster.pod("download", run="1", phantom={"seed": 1})
    assert again.restored
    assert again.outputs == first.outputs


def test_pod_without_a_tracking_server_refuses_to_start(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    refused = cluster.pod("download")
    assert refused.status == 1
    assert "Expected MLFLOW_TRACKING_URI to be the address of the MLflow server that all pods share" in refused.text


def changes(phantom: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    """Changes of params.yaml in these tests."""
    return project.merged(SMALL, {"data": {"phantom": {"patients": 12} | (phantom or {})} | data})


def laptop_of(folder: Path, remote: dict[str, str]) -> Path:
    """A project on another machine, with the parameters of the pods."""
    demo.make_project(folder, changes())
    project.make_dvc(folder, remote)
    return folder


def dvc(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env=demo.environment(folder),
        text=True,
        capture_output=True,
        check=True,
    ).stdout
