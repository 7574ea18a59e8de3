"""Submit and follow runs on a server that implements the part of Kubeflow's API that they need."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from pipeline.kubeflow import __main__ as kubeflow
from pipeline.kubeflow import cluster as kubeflow_cluster
from tests.support import kfp_api
from tests.support.kfp_api import Kubeflow, run

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubeflow]:
    monkeypatch.setattr(kubeflow_cluster, "POLL_SECONDS", 0)
    monkeypatch.delenv("KFP_TOKEN", raising=False)
    with kfp_api.served() as served:
        yield served


def command(*arguments: str) -> Result:
    return CliRunner().invoke(kubeflow.main, arguments, catch_exceptions=False)


def test_submitted_run_has_overridden_settings_and_the_given_remote(cluster: Kubeflow) -> None:
    change = ("--set", "train.models.cnn.epochs=2", "--remote", "/mnt/data/dvc")
    done = command("submit", "--host", cluster.url, *change)
    assert done.exit_code == 0, done.output
    assert f"python -m pipeline.kubeflow status {kfp_api.RUN} --host {cluster.url}" in done.output
    (submitted,) = cluster.submitted
    assert submitted["experiment_id"] == kfp_api.EXPERIMENT["experiment_id"]
    assert submitted["runtime_config"]["parameters"] == {"remote": "/mnt/data/dvc"}
    pipeline = submitted["pipeline_spec"]["pipeline_spec"]
    params = json.loads(pipeline["root"]["inputDefinitions"]["parameters"]["params"]["defaultValue"])
    assert params["train"]["models"]["cnn"]["epochs"] == 2
    assert "platforms" in submitted["pipeline_spec"]["platform_spec"], "which names the secrets"


def test_status_prints_each_change_and_the_final_state(cluster: Kubeflow) -> None:
    cluster.states = [
        run("RUNNING", download=("RUNNING", "")),
        run("RUNNING", download=("RUNNING", "")),
        run("SUCCEEDED", download=("SUCCEEDED", ""), validate=("SUCCEEDED", "")),
    ]
    done = command("status", kfp_api.RUN, "--host", cluster.url)
    assert done.exit_code == 0
    assert [line.split() for line in done.output.splitlines()] == [
        ["RUNNING", "download"],
        ["SUCCEEDED", "download"],
        ["SUCCEEDED", "validate"],
        ["SUCCEEDED", "the", "run"],
    ]


def test_status_of_a_failed_run_prints_stage_and_message_and_exits_with_1(cluster: Kubeflow) -> None:
    cluster.states = [run("FAILED", "a task failed", download=("FAILED", "the archive is broken"))]
    done = command("status", kfp_api.RUN, "--host", cluster.url)
    assert done.exit_code == 1
    assert "FAILED     download: the archive is broken" in done.output
    assert "FAILED     the run: a task failed" in done.output


def test_token_is_sent_to_a_cluster_that_requires_one(cluster: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.requires_token = True
    cluster.states = [run("SUCCEEDED")]
    refused = command("status", kfp_api.RUN, "--host", cluster.url)
    assert refused.exit_code == 1
    assert "set KFP_TOKEN if the server requires a login" in refused.output
    monkeypatch.setenv("KFP_TOKEN", kfp_api.TOKEN)
    assert command("status", kfp_api.RUN, "--host", cluster.url).exit_code == 0


def test_errors_of_unknown_run_and_unreachable_host_are_explained(cluster: Kubeflow) -> None:
    unknown = command("status", "ffff", "--host", cluster.url)
    assert unknown.exit_code == 1
    assert f"at {cluster.url} to accept the request, but it responded 404" in unknown.output
    unreachable = command("status", "ffff", "--host", "http://127.0.0.1:9")
    assert unreachable.exit_code == 1
    assert "Expected the API of Kubeflow Pipelines 2 at http://127.0.0.1:9, but:" in unreachable.output
