"""The package for Kubeflow: the DAG that DVC has, and nothing that would be stale or secret."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline import demo, kubeflow, kubeflow_package, kubeflow_task
from pneumonia.errors import ClusterError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
SECRET = "a-secret-of-the-environment"


def compiled(folder: Path, *overrides: str) -> dict[str, Any]:
    with kubeflow.definition(overrides) as definition:
        kubeflow_package.compile_package(definition, folder / "pipeline.yaml")
    pipeline, platform = yaml.safe_load_all((folder / "pipeline.yaml").read_text())
    return pipeline | {"platform": platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]}


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    pipeline, platform = yaml.safe_load_all(kubeflow_package.PACKAGE.read_text())
    return pipeline | {"platform": platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]}


def tasks(package: dict[str, Any]) -> dict[str, Any]:
    (inner,) = (part for part in package["components"].values() if "dag" in part)
    return inner["dag"]["tasks"]


def parents(package: dict[str, Any]) -> dict[str, set[str]]:
    return {name: set(task.get("dependentTasks", ())) for name, task in tasks(package).items()}


def container(package: dict[str, Any], task: str) -> dict[str, Any]:
    return package["deploymentSpec"]["executors"][f"exec-{task}"]["container"]


def test_committed_package_is_what_the_command_writes(tmp_path: Path) -> None:
    target = tmp_path / "pipeline.yaml"
    done = CliRunner().invoke(kubeflow.main, ["compile", "--output", str(target)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert target.read_text() == kubeflow_package.PACKAGE.read_text(), "run `python -m pipeline.kubeflow compile`"


def test_tasks_and_edges_are_those_that_dvc_draws(committed: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "dvc", "dag", "--dot"]
    drawn = subprocess.run(command, cwd=demo.PROJECT, capture_output=True, text=True, check=True).stdout
    names = {name.replace("@", "-") for name in re.findall(r'"([^"]+)"', drawn)} - {"data.dvc"}
    edges: dict[str, set[str]] = {name: set() for name in names}
    for parent, child in re.findall(r'"([^"]+)" -> "([^"]+)"', drawn):
        if parent != "data.dvc":
            edges[child.replace("@", "-")].add(parent.replace("@", "-"))
    found = parents(committed)
    assert {name: above for name, above in found.items() if not name.startswith("show-")} == edges
    models = yaml.safe_load((demo.PROJECT / "params.yaml").read_text())["train"]["models"]
    shown = {name: above for name, above in found.items() if name.startswith("show-")}
    assert shown == {f"show-{model}": {"evaluate", f"train-{model}"} for model in models}


def test_every_task_runs_its_stage_of_dvc_yaml_and_hands_on_what_its_parents_made(committed: dict[str, Any]) -> None:
    for name, task in tasks(committed).items():
        given = task["inputs"]["parameters"]
        told = given["model" if name.startswith("show-") else "name"]["runtimeValue"]["constant"]
        assert name in (told.replace("@", "-"), f"show-{told}")
        above = {
            value["taskOutputParameter"]["producerTask"] for value in given.values() if "taskOutputParameter" in value
        }
        assert above == set(task.get("dependentTasks", ()))


def test_parameters_are_those_of_params_yaml(committed: dict[str, Any]) -> None:
    params = yaml.safe_load((demo.PROJECT / "params.yaml").read_text())
    given = committed["root"]["inputDefinitions"]["parameters"]
    assert json.loads(given["params"]["defaultValue"]) == params
    assert given["remote"]["defaultValue"] == params["kubeflow"]["remote"]
    assert given["endpoint"]["defaultValue"] == params["kubeflow"]["endpoint"]


def test_no_task_is_ever_answered_from_kubeflows_cache(committed: dict[str, Any]) -> None:
    executed = [*tasks(committed).values(), committed["root"]["dag"]["tasks"]["record"]]
    assert not any(task["cachingOptions"].get("enableCache") for task in executed)


def test_record_of_the_run_is_written_whatever_happens(committed: dict[str, Any]) -> None:
    record = committed["root"]["dag"]["tasks"]["record"]
    (inner,) = set(committed["root"]["dag"]["tasks"]) - {"record"}
    assert record["dependentTasks"] == [inner]
    assert record["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_stages_get_what_params_yaml_says(tmp_path: Path) -> None:
    package = compiled(
        tmp_path,
        "kubeflow.image=registry/pneumonia@sha256:12",
        "kubeflow.pods.train.cpu='6'",
        "kubeflow.pods.train.memory=24Gi",
        "kubeflow.pods.train.gpus=1",
        "+kubeflow.pods.train.nodes.pool=gpu",
        "+kubeflow.pods.train.retries=2",
        "kubeflow.pods.default.cpu=500m",
        "kubeflow.volume={claim: shared, path: /mnt/data}",
    )
    assert {container(package, task)["image"] for task in tasks(package)} == {"registry/pneumonia@sha256:12"}
    for model in ("probe", "cnn", "mobilenetv2"):
        resources = container(package, f"train-{model}")["resources"]
        assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == ("6", "24Gi")
        assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
        assert resources["accelerator"]["resourceCount"] == "1"
        assert package["platform"][f"exec-train-{model}"]["nodeSelector"]["labels"] == {"pool": "gpu"}
        assert tasks(package)[f"train-{model}"]["retryPolicy"]["maxRetryCount"] == 2
    assert container(package, "split")["resources"]["resourceCpuLimit"] == "500m"
    assert "accelerator" not in container(package, "split")["resources"]
    assert tasks(package)["download"]["retryPolicy"]["maxRetryCount"] == 3
    assert "retryPolicy" not in tasks(package)["split"]
    for executor in package["platform"].values():
        (mount,) = executor["pvcMount"]
        assert (mount["constant"], mount["mountPath"]) == ("shared", "/mnt/data")


def test_secrets_are_named_and_never_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*kubeflow_task.STORAGE_KEYS, *kubeflow_task.MLFLOW_KEYS):
        monkeypatch.setenv(name, SECRET)
    package = compiled(tmp_path, "kubeflow.secrets.storage=the-bucket", "kubeflow.secrets.mlflow=the-server")
    assert SECRET not in (tmp_path / "pipeline.yaml").read_text()
    for executor in package["platform"].values():
        assert {
            secret["secretName"]: {pair["envVar"] for pair in secret["keyToEnv"]} for secret in executor["secretAsEnv"]
        } == {"the-bucket": {*kubeflow_task.STORAGE_KEYS}, "the-server": {*kubeflow_task.MLFLOW_KEYS}}


def test_model_taken_out_of_params_yaml_takes_its_pods_along(tmp_path: Path) -> None:
    package = compiled(tmp_path, "~train.models.probe")
    assert not {"train-probe", "show-probe"} & set(tasks(package))
    assert {above for above in parents(package)["evaluate"] if above.startswith("train-")} == {
        "train-cnn",
        "train-mobilenetv2",
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "+kubeflow.pods.trian={cpu: '1', memory: 1Gi}",
            "names trian, but dvc.yaml has no such stage",
        ),
        ("train.epohcs=3", "cannot be applied"),
    ],
)
def test_wrong_params_are_refused_by_name(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(message)):
        compiled(tmp_path, override)
