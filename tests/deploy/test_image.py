"""The images: their packages, and the application started with the arguments of its manifest."""

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pneumonia.serving import access

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def locked() -> dict[str, str]:
    """Return the text of each package in the lock by the package's name."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    return {re.split(r"[\[=]", entry)[0]: entry for entry in entries}


def requirements(name: str) -> list[str]:
    """Return the requirements of an installed package; those of the project itself come from this checkout."""
    if name != "pneumonia":
        return importlib.metadata.requires(name) or []
    extras = PROJECT["optional-dependencies"].items()
    return PROJECT["dependencies"] + [
        "{};({}) and extra == '{}'".format(*needed.split(";"), extra)
        if ";" in needed
        else f"{needed}; extra == '{extra}'"
        for extra, of_extra in extras
        for needed in of_extra
    ]


def installed_for(extras: set[str]) -> set[str]:
    """Return the packages that pyproject.toml requires with some extras, and their dependencies at any depth."""
    found, waiting = set(), [("pneumonia", extras)]
    while waiting:
        name, asked = waiting.pop()
        for needed in map(Requirement, requirements(name)):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in asked | {""}):
                entry = (canonicalize_name(needed.name), frozenset(needed.extras))
                if entry not in found:
                    found.add(entry)
                    waiting.append((entry[0], set(entry[1])))
    return {name for name, _ in found} - {"pneumonia"}


def extras_of(stage: str) -> set[str]:
    """Return the extras that a stage of the Dockerfile installs."""
    section = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    (install,) = [part for part in section if f" AS builder-{stage}\n" in part]
    return set(re.findall(r"--extra (\w+)", install))


def test_every_package_of_the_lock_has_hashes_and_the_image_checks_them() -> None:
    assert all("--hash=sha256:" in entry for entry in locked().values())
    assert "--require-hashes --constraints requirements.lock" in DOCKERFILE


def test_the_lock_is_for_all_platforms_and_names_no_registry() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")

    assert re.search(
        r"^tensorflow-cpu==\S+ ; platform_machine == 'x86_64' and sys_platform == 'linux'", text, re.MULTILINE
    )
    assert re.search(r"^tensorflow==\S+ ; platform_machine != 'x86_64' or sys_platform != 'linux'", text, re.MULTILINE)
    assert "://" not in text


def test_the_serving_image_is_without_training_and_pipeline() -> None:
    serving, pipeline = installed_for(extras_of("serve")), installed_for(extras_of("pipeline"))

    assert {"fastapi", "mlflow", "onnxruntime", "psycopg", "uvicorn"} <= serving
    assert (
        not {"tensorflow", "tensorflow-cpu", "keras", "jax", "dvc", "great-expectations", "kfp", "tf2onnx"} & serving
    )
    assert {"tensorflow-cpu", "jax", "dvc", "dvc-s3", "evidently", "great-expectations", "kfp", "s3fs"} <= pipeline
    assert not {"pytest", "mypy", "ruff", "playwright", "moto"} & pipeline
    assert serving <= pipeline <= locked().keys()


def test_a_plain_installation_is_without_the_extras() -> None:
    base = installed_for(set())

    assert {"fastapi", "onnxruntime", "pydicom", "pyarrow"} <= base
    assert (
        not {"tensorflow-cpu", "keras", "mlflow", "dvc", "great-expectations", "evidently", "psycopg", "s3fs"} & base
    )


def test_copied_files_exist_and_are_sent_to_the_builder() -> None:
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in line.split()
    }
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert copied == sent
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"] * 2  # serve and pipeline


def get(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The arguments of app.yaml, with the folders and the port replaced by those of the test."""
    manifests = yaml.safe_load_all((ROOT / "deploy/kubernetes/app.yaml").read_text(encoding="utf-8"))
    (app,) = next(manifests)["spec"]["template"]["spec"]["containers"]
    for folder in ("state", "access"):
        (tmp_path / folder).mkdir()
    replaced = [re.sub(r"=/(state|access)\b", rf"={tmp_path}/\1", argument) for argument in app["args"]]
    assert sum(str(tmp_path) in argument for argument in replaced) == 3
    return [
        argument.replace("--port=8000", "--port=18931").replace(
            "$(PNEUMONIA_DATABASE)", f"sqlite:///{tmp_path}/state/predictions.db"
        )
        for argument in replaced
    ]


def test_the_application_starts_with_the_arguments_of_its_manifest_and_answers_its_probes(
    arguments: list[str], tmp_path: Path
) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "PNEUMONIA_LOG": f"sqlite:///{tmp_path}/log.db",
    }
    access.add_key(tmp_path / "access/keys.txt", "ward")
    access.set_password(tmp_path / "access/password.txt", "a password that is long")

    with subprocess.Popen([sys.executable, "-m", "pneumonia.cli", *arguments[1:]], cwd=ROOT, env=environment) as app:
        try:
            deadline = time.monotonic() + 180
            while get("http://127.0.0.1:18931/readyz") != 200 and app.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.3)

            assert get("http://127.0.0.1:18931/readyz") == 200
            assert get("http://127.0.0.1:18931/healthz") == 200
            assert get("http://127.0.0.1:18931/api/v1/model") == 401
            assert (tmp_path / "state/secret.key").exists()
        finally:
            app.terminate()
    assert app.returncode == -signal.SIGTERM  # uvicorn shuts down, then raises the signal again
