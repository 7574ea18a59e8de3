"""The image: what its lock holds, and that its application starts as the manifest says and answers the probes."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from pneumonia.app import access

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9][\w.-]*)(?:\[[\w,-]+\])?==([^\s;]+)", text, re.MULTILINE))


def test_the_image_has_the_versions_that_were_tested() -> None:
    runtime, tested = pins("requirements-runtime.lock"), pins("requirements.lock")

    assert runtime.items() <= tested.items()


def test_the_image_has_what_runs_and_not_what_develops() -> None:
    runtime = pins("requirements-runtime.lock").keys()

    assert {"tensorflow-cpu", "mlflow", "uvicorn", "dvc", "dvc-s3", "kfp", "jax", "psycopg"} <= runtime
    assert not {"pytest", "mypy", "ruff", "playwright", "moto"} & runtime


def test_every_package_of_the_image_is_held_to_its_hash() -> None:
    text = (ROOT / "requirements-runtime.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]

    assert len(entries) == len(pins("requirements-runtime.lock"))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "--require-hashes" in DOCKERFILE


def test_what_the_image_copies_is_there_and_sent_to_the_builder() -> None:
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in line.split()
    }
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert copied == sent
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


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
    """What app.yaml tells the application, its folders and its port laid into a folder and a port of this machine."""
    manifests = yaml.safe_load_all((ROOT / "deploy/kubernetes/app.yaml").read_text(encoding="utf-8"))
    (app,) = next(manifests)["spec"]["template"]["spec"]["containers"]
    for folder in ("state", "access"):
        (tmp_path / folder).mkdir()
    laid = [re.sub(r"=/(state|access)\b", rf"={tmp_path}/\1", argument) for argument in app["args"]]
    assert sum(str(tmp_path) in argument for argument in laid) == 3
    return [
        argument.replace("--port=8000", "--port=18931").replace(
            "$(PNEUMONIA_DATABASE)", f"sqlite:///{tmp_path}/state/predictions.db"
        )
        for argument in laid
    ]


def test_the_application_starts_as_the_manifest_says_and_answers_its_probes(
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
    assert app.returncode == -signal.SIGTERM  # uvicorn closes down first, and then takes it as it came
