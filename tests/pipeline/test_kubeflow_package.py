"""The compiled package for Kubeflow: its tasks, dependencies, settings and secrets."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline import demo
from pipeline.kubeflow import __main__ as kubeflow
from pipeline.kubeflow import definition
from pipeline.kubeflow import package as kubeflow_package
from pipeline.kubeflow import task as kubeflow_task
from pneumonia.core.errors import ClusterError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
SECRET = "a-secret-of-the-environment"


def compiled(folder: Path, *overrides: str) -> dict[str, Any]:
    with definition.temporary(overrides) as project:
        kubeflow_package.compile_package(project, folder / "pipeline.yaml")
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


def task_name(stage: str) -> str:
    """Return the name of a stage's task."""
    return stage.replace("@", "-").replace("_", "-")


def test_tasks_and_dependencies_are_those_of_dvc_dag(committed: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "dvc", "dag", "--dot"]
    drawn = subprocess.run(command, cwd=demo.PROJECT, capture_output=True, text=True, check=True).stdout
    names = {task_name(name) for name in re.findall(r'"([^"]+)"', drawn)} - {"data.dvc"}
    edges: dict[str, set[str]] = {name: set() for name in names}
    for parent, child in re.findall(r'"([^"]+)" -> "([^"]+)"', drawn):
        if parent != "data.dvc":
            edges[task_name(child)].add(task_name(parent))
    tasks_and_parents = parents(committed)
    assert {name: above for name, above in tasks_and_parents.items() if not name.startswith("show-")} == edges
    models = yaml.safe_load((demo.PROJECT / "params.yaml").read_text())["train"]["models"]
    shown = {name: above for name, above in tasks_and_parents.items() if name.startswith("show-")}
    assert shown == {f"show-{model}": {f"evaluate-{model}"} for model in models}
    for model in models:
        assert tasks_and_parents[f"evaluate-{model}"] == {f"calibrate-{model}", "prepare"}


def test_tasks_run_stages_of_dvc_yaml_with_the_outputs_of_their_parents(committed: dict[str, Any]) -> None:
    for name, task in tasks(committed).items():
        given = task["inputs"]["parameters"]
        argument = given["model" if name.startswith("show-") else "name"]["runtimeValue"]["constant"]
        assert name in (task_name(argument), f"show-{argument}")
        producers = {
            value["taskOutputParameter"]["producerTask"] for value in given.values() if "taskOutputParameter" in value
        }
        assert producers == set(task.get("dependentTasks", ()))


def test_parameters_are_those_of_the_settings_files(committed: dict[str, Any]) -> None:
    params, operations = (
        yaml.safe_load((demo.PROJECT / name).read_text()) for name in ("params.yaml", "operations.yaml")
    )
    given = committed["root"]["inputDefinitions"]["parameters"]
    assert json.loads(given["params"]["defaultValue"]) == params
    for name in ("remote", "endpoint", "mlflow_ui"):
        assert given[name]["defaultValue"] == operations["kubeflow"][name]


def test_no_task_uses_kubeflows_cache(committed: dict[str, Any]) -> None:
    executed = [*tasks(committed).values(), committed["root"]["dag"]["tasks"]["record"]]
    assert not any(task["cachingOptions"].get("enableCache") for task in executed)


def test_record_of_the_run_is_written_in_any_case(committed: dict[str, Any]) -> None:
    record = committed["root"]["dag"]["tasks"]["record"]
    (inner,) = set(committed["root"]["dag"]["tasks"]) - {"record"}
    assert record["dependentTasks"] == [inner]
    assert record["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_pods_have_the_settings_of_operations_yaml(tmp_path: Path) -> None:
    package = compiled(
        tmp_path,
        "kubeflow.image=registry/pneumonia@sha256:12",
        "kubeflow.pods.train.cpu='6'",
        "kubeflow.pods.train.memory=24Gi",
        "kubeflow.pods.train.gpus=1",
        "+kubeflow.pods.train.nodes.pool=gpu",
        "+kubeflow.pods.train.retries=2",
        "kubeflow.pods.default.cpu=500m",
        "operations.yaml:kubeflow.volume={claim: shared, path: /mnt/data}",
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


def test_model_removed_from_params_yaml_has_no_pods(tmp_path: Path) -> None:
    package = compiled(tmp_path, "~train.models.probe")
    assert not [name for name in tasks(package) if name.endswith("-probe")]
    assert {f"evaluate-{model}" for model in ("cnn", "mobilenetv2")} < parents(package)["compare"]


def test_a_matrix_of_any_name_and_dependencies_between_its_members_are_compiled(tmp_path: Path) -> None:
    stages = {
        "fit": {"matrix": {"fold": [1, 2]}, "cmd": "fit", "outs": ["fit/${item.fold}"]},
        "score": {
            "matrix": {"fold": [1, 2]},
            "cmd": "score",
            "deps": ["fit/${item.fold}"],
            "outs": ["s/${item.fold}"],
        },
        "merge": {"cmd": "merge", "deps": ["s"], "outs": ["merged"]},
    }
    with definition.temporary(()) as dag:
        operations = yaml.safe_load((dag / "operations.yaml").read_text())
        pods = {"default": {"cpu": "1", "memory": "1Gi"}, "fit": {"cpu": "2", "memory": "1Gi"}}
        (dag / "operations.yaml").write_text(yaml.safe_dump({"kubeflow": operations["kubeflow"] | {"pods": pods}}))
        (dag / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        kubeflow_package.compile_package(dag, tmp_path / "pipeline.yaml")
    package, _ = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())
    assert parents(package) == {
        "fit-1": set(),
        "fit-2": set(),
        "score-1": {"fit-1"},
        "score-2": {"fit-2"},
        "merge": {"score-1", "score-2"},
    }
    assert container(package, "fit-2")["resources"]["resourceCpuLimit"] == "2"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "+kubeflow.pods.trian={cpu: '1', memory: 1Gi}",
            "names trian, but dvc.yaml has no such stage",
        ),
        ("train.epohcs=3", "cannot be applied to params.yaml"),
        ("kubeflow.iamge=x", "cannot be applied to operations.yaml"),
        ("dvc.yaml:stages.split.cmd=x", "dvc.yaml is not a settings file"),
    ],
)
def test_wrong_settings_are_refused_by_name(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(message)):
        compiled(tmp_path, override)
