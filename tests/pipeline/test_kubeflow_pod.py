"""Pods of light stages: what they bring, what they push, what they refuse, and what they leave when they fail."""

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

from pipeline import demo, project, run_record
from tests import bucket
from tests.test_dag import SMALL

BUCKET = "radiographs"
SCRIPT = """
import sys
from pipeline import pod
made, page = pod.run_stage(pod.Work(*sys.argv[1:5]), *sys.argv[5:])
print(page)
print("MADE", made)
"""


@dataclass
class Pod:
    """What a pod of a stage said, and what it handed on."""

    status: int
    output: str

    @property
    def made(self) -> str:
        assert self.status == 0, self.output
        return self.output.rpartition("MADE ")[2].strip()

    @property
    def restored(self) -> bool:
        assert self.status == 0, self.output
        return "Restored:" in self.output


@dataclass
class Cluster:
    """Pods that share a remote; each is a process, in a folder that holds nothing."""

    remote: str
    endpoint: str
    scratch: Path
    environment: dict[str, str]

    def pod(self, stage: str, inputs: str = "", *, run: str = "1", **data: Any) -> Pod:
        params = project.merged(yaml.safe_load((project.ROOT / "params.yaml").read_text()), changes(**data))
        work = [run, json.dumps(params), self.remote, self.endpoint]
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *work, stage, inputs],
            cwd=self.scratch,
            env=demo.environment(project.ROOT)
            | {"PYTHONPATH": f"{project.ROOT}/src:{project.ROOT}", "MLFLOW_TRACKING_URI": "sqlite:///unused.db"}
            | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Pod(done.returncode, done.stdout)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Pods that share a folder, as on a mounted volume."""
    (tmp_path / "scratch").mkdir()
    return Cluster(str(tmp_path / "volume"), "", tmp_path / "scratch", {})


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Cluster]:
    """Pods that share a bucket of an S3 server on this machine."""
    with bucket.serve(BUCKET) as endpoint:
        yield Cluster(f"s3://{BUCKET}/dvc", endpoint, tmp_path, bucket.CREDENTIALS)


def test_stages_hand_data_on_through_a_bucket_and_a_laptop_needs_not_repeat_them(s3: Cluster, tmp_path: Path) -> None:
    downloaded = s3.pod("download")
    validated = s3.pod("validate", downloaded.made)
    assert not downloaded.restored
    assert not validated.restored
    assert "a-secret" not in downloaded.output + validated.output
    laptop = laptop_of(tmp_path / "laptop", {"url": s3.remote, "endpointurl": s3.endpoint})
    assert "Running stage" not in dvc(laptop, "repro", "--pull", "validate", **s3.environment)
    assert json.loads((laptop / "reports/validation.json").read_text())["success"]
    images = list((laptop / "artifacts/raw").rglob("*.jpeg"))
    assert len(images) == json.loads((laptop / "reports/download.json").read_text())["files"] > 0


def test_what_a_laptop_shares_is_not_done_again_in_a_pod(cluster: Cluster, tmp_path: Path) -> None:
    laptop = laptop_of(tmp_path / "laptop", {"url": cluster.remote})
    assert "Running stage 'download'" in dvc(laptop, "repro", "download")
    command = [sys.executable, "-m", "pipeline.kubeflow", "share"]
    told = subprocess.run(
        command, cwd=laptop, env=demo.environment(laptop), text=True, stdout=subprocess.PIPE, check=True
    )
    assert told.stdout == "1 results of stages are in the remote.\n"
    assert cluster.pod("download").restored


def test_data_that_was_changed_in_the_remote_is_refused(cluster: Cluster) -> None:
    downloaded = cluster.pod("download")
    report = next(entry for entry in downloaded.made.split() if entry.startswith("reports/download.json@"))
    digest = report.rpartition("@")[2]
    stored = Path(cluster.remote) / "files/md5" / digest[:2] / digest[2:]
    stored.chmod(0o644)
    stored.write_text(stored.read_text().replace("phantom", "kermany"))
    refused = cluster.pod("validate", downloaded.made)
    assert refused.status == 1
    assert "reports/download.json" in refused.output
    assert "Content that is missing or was changed there is not used" in refused.output
    assert "Traceback" not in refused.output


def test_failure_keeps_its_message_in_the_record_of_its_run(cluster: Cluster) -> None:
    failed = cluster.pod("download", source="/no/such/folder")
    assert failed.status == 1
    assert "Traceback" not in failed.output
    page = run_record.close(cluster.remote, cluster.endpoint, "1", "FAILED", "a task failed")
    record = json.loads((Path(cluster.remote) / "kubeflow/1/run.json").read_text())
    (failure,) = record["failures"]
    assert (record["state"], failure["stage"]) == ("FAILED", "download")
    assert "error: data.source" in failure["message"]
    assert failure["message"] in page
    assert list(cluster.scratch.iterdir()) == [], "a pod leaves nothing behind"


def test_run_that_ends_without_a_word_is_recorded_as_such(cluster: Cluster) -> None:
    page = run_record.close(cluster.remote, cluster.endpoint, "2", "FAILED", "the pod was evicted")
    assert "No stage left a message" in page
    assert "the pod was evicted" in page


def test_two_runs_at_once_keep_their_data_apart(cluster: Cluster) -> None:
    def download(seed: int) -> Pod:
        return cluster.pod("download", run=str(seed), phantom={"seed": seed})

    with ThreadPoolExecutor(2) as both:
        first, second = both.map(download, (1, 2))
    assert first.made != second.made
    again = download(1)
    assert again.restored
    assert again.made == first.made


def test_pod_without_a_tracking_server_refuses_to_start(cluster: Cluster) -> None:
    cluster.environment["MLFLOW_TRACKING_URI"] = ""
    refused = cluster.pod("download")
    assert refused.status == 1
    assert "Expected MLFLOW_TRACKING_URI to name the MLflow store that all pods share" in refused.output


def changes(phantom: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    """What the params of these tests have other than params.yaml."""
    return project.merged(SMALL, {"data": {"phantom": {"patients": 12} | (phantom or {})} | data})


def laptop_of(folder: Path, remote: dict[str, str]) -> Path:
    """A project as on a laptop, with the parameters of the pods."""
    demo.make_project(folder, changes())
    project.make_dvc(folder, remote)
    return folder


def dvc(folder: Path, *arguments: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env=demo.environment(folder) | environment,
        text=True,
        capture_output=True,
        check=True,
    ).stdout
