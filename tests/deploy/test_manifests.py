"""The manifests: valid by the schemas of Kubernetes, and consistent with each other, the commands and the service."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from fastapi.routing import APIRoute
from mlflow.server import security_utils

from pipeline.kubeflow import train_distributed
from pipeline.params import load
from pneumonia.cli import main as cli
from pneumonia.serving import api
from pneumonia.training.settings import FitParams

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy/kubernetes"
GUIDE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))
FILES = [*(BASE / name for name in KUSTOMIZATION["resources"]), ROOT / "deploy/training/job.yaml"]
OBJECTS = [manifest for file in FILES for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {manifest["metadata"]["name"]: manifest for manifest in OBJECTS if manifest["kind"] == kind}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every pod template with the name of the object that contains it."""
    for manifest in OBJECTS:
        spec = manifest.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield manifest["metadata"]["name"], spec["template"]


PODS = dict(pods())
each_pod = pytest.mark.parametrize("name", PODS)


def container(name: str) -> dict[str, Any]:
    (only,) = PODS[name]["spec"]["containers"]
    return only


def environment(name: str) -> dict[str, Any]:
    return {variable["name"]: variable for variable in container(name)["env"]}


@pytest.mark.parametrize("manifest", OBJECTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_a_manifest_fits_the_schema_of_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_schema_check_rejects_a_misspelt_field() -> None:
    broken = yaml.safe_load((BASE / "app.yaml").read_text(encoding="utf-8").split("---")[0])
    broken["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_the_kustomization_lists_every_manifest_of_its_folder() -> None:
    assert set(KUSTOMIZATION["resources"]) == {file.name for file in BASE.iterdir()} - {"kustomization.yaml"}
    assert set(PODS) == {"app", "mlflow", "monitor", "train"}


@each_pod
def test_pods_have_restricted_rights(name: str) -> None:
    pod, only = PODS[name]["spec"], container(name)

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 10_000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert not any("hostPath" in volume for volume in pod["volumes"])


@each_pod
def test_pods_have_resource_limits(name: str) -> None:
    resources = container(name)["resources"]

    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}


@each_pod
def test_a_second_mount_keeps_the_permissions_of_the_secret_key(name: str) -> None:
    """By default each mount makes all files readable by the group, and the application then refuses its key."""
    assert PODS[name]["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


@each_pod
def test_mounts_have_a_volume_and_a_claim(name: str) -> None:
    pod, claims = PODS[name]["spec"], of_kind("PersistentVolumeClaim")

    assert {mount["name"] for mount in container(name)["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    for volume in pod["volumes"]:
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims
    assert "/tmp" in {mount["mountPath"] for mount in container(name)["volumeMounts"]}


def secrets() -> set[tuple[str, str]]:
    """Return the secrets that pods read, each with its key, or with the file that an argument names."""
    read = set()
    for name in PODS:
        for variable in container(name)["env"]:
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                read.add((reference["name"], reference["key"]))
        mounts = {mount["name"]: mount["mountPath"] for mount in container(name)["volumeMounts"]}
        for volume in PODS[name]["spec"]["volumes"]:
            if "secret" in volume:
                files = re.findall(rf"{mounts[volume['name']]}/([\w.]+)", " ".join(container(name)["args"]))
                assert files, f"{name} mounts {volume} but no argument names a file of it"
                read |= {(volume["secret"]["secretName"], file) for file in files}
    return read


def test_the_guide_creates_every_secret_that_pods_read() -> None:
    made = set()
    for secret, options in re.findall(r"kubectl -n pneumonia create secret generic (\S+)((?:\s+\\?\s*--\S+)+)", GUIDE):
        for key in re.findall(r"--from-(?:literal|file)=([\w.-]+)", options):
            made.add((secret, key))

    assert made == secrets()


def test_the_kustomization_names_every_image() -> None:
    named = {image["name"] for image in KUSTOMIZATION["images"]}

    assert {container(name)["image"] for name in PODS if name != "train"} == named
    assert container("train")["image"].partition(":")[0] in named


@pytest.mark.parametrize("name", of_kind("Service"))
def test_services_use_ports_of_their_pods(name: str) -> None:
    spec = of_kind("Service")[name]["spec"]
    matching = [pod for pod in PODS if spec["selector"].items() <= PODS[pod]["metadata"]["labels"].items()]

    assert len(matching) == 1
    ports = {port["name"] for port in container(matching[0])["ports"]}
    assert {port.get("targetPort", port["name"]) for port in spec["ports"]} <= ports


def test_network_policies_match_existing_pods_and_ports() -> None:
    policies = of_kind("NetworkPolicy")

    assert policies["nobody"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for policy in policies.values():
        labels = policy["spec"]["podSelector"].get("matchLabels", {})
        chosen = [pod for pod in PODS if labels.items() <= PODS[pod]["metadata"]["labels"].items()]
        assert chosen
        for rule in policy["spec"].get("ingress", []):
            for port in rule.get("ports", []):
                assert all(port["port"] in {one["name"] for one in container(pod)["ports"]} for pod in chosen)


def commands() -> dict[str, click.Command]:
    return {f"pneumonia {name}": command for name, command in cli.main.commands.items()} | {
        "python -m pipeline.kubeflow.train_distributed": train_distributed.main
    }


@pytest.mark.parametrize("name", ["app", "monitor", "train"])
def test_the_command_line_accepts_the_arguments_of_pods(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, source in environment(name).items():
        monkeypatch.setenv(variable, source.get("value", "0"))  # set by the cluster: a secret, or the rank of the pod
    asked = shlex.join(container(name)["args"])
    known = next(start for start in commands() if asked.startswith(start))

    with commands()[known].make_context(known, container(name)["args"][len(known.split()) :]) as context:
        assert not context.args
        if name == "train":
            assert context.params == {
                "model": "mobilenetv2",
                "workers": 2,
                "rank": 0,
                "coordinator": "train-0.train:8476",
            }


@pytest.mark.parametrize("name", ["app", "monitor", "train"])
def test_every_variable_of_a_pod_is_read(name: str) -> None:
    arguments = " ".join(container(name)["args"])
    read = {
        variable
        for command in commands().values()
        for parameter in command.params
        for variable in [getattr(parameter, "envvar", None)]
        if variable
    }

    for variable in environment(name):
        assert variable in read | {"MLFLOW_TRACKING_URI", "KERAS_HOME"} or f"$({variable})" in arguments


def test_probes_use_paths_of_the_application() -> None:
    served = {route.path for route in api.operations.routes if isinstance(route, APIRoute)}
    app = container("app")

    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert app[probe]["httpGet"]["path"] in served
        assert app[probe]["httpGet"]["port"] in {port["name"] for port in app["ports"]}
    assert f"--port={app['ports'][0]['containerPort']}" in app["args"]


def test_pods_have_the_address_of_mlflow_which_accepts_that_host_name() -> None:
    (port,) = of_kind("Service")["mlflow"]["spec"]["ports"]
    mlflow = container("mlflow")
    (hosts,) = (argument.partition("=")[2] for argument in mlflow["args"] if argument.startswith("--allowed-hosts="))

    for name in ("app", "monitor", "train"):
        address = environment(name)["MLFLOW_TRACKING_URI"]["value"]
        assert address == f"http://mlflow:{port['port']}"
        assert security_utils.is_allowed_host_header(hosts.split(","), address.removeprefix("http://"))
    assert not security_utils.is_allowed_host_header(hosts.split(","), "evil.example:5000")
    assert mlflow["livenessProbe"]["httpGet"]["path"] in security_utils.HEALTH_ENDPOINTS
    assert f"--port={mlflow['ports'][0]['containerPort']}" in mlflow["args"]


def test_the_training_job_has_one_pod_per_worker() -> None:
    job = of_kind("Job")["train"]["spec"]
    model = container("train")["args"][-1]

    workers = int(environment("train")["PNEUMONIA_WORKERS"]["value"])
    assert job["completions"] == job["parallelism"] == workers
    recipe = load(ROOT / "params.yaml").train.models[model]
    assert isinstance(recipe, FitParams)
    assert recipe.batch_size % workers == 0
    host, port = environment("train")["PNEUMONIA_COORDINATOR"]["value"].split(":")
    assert host == f"train-0.{job['template']['spec']['subdomain']}"
    assert int(port) == container("train")["ports"][0]["containerPort"]
