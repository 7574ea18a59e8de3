"""The command, the logged model and MLflow's model server reproduce the pinned golden answers."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import golden
from pneumonia.registry import versions
from tests.unit.registry.conftest import NAME, Registry

TOLERANCE = 1e-4


@pytest.fixture
def pinned(registered: Registry) -> dict[str, float]:
    """The golden answers of the challenger, by image."""
    return bundles.read(folder_of_challenger(registered)).card.golden


def folder_of_challenger(registered: Registry) -> Path:
    return versions.bundle(registered.store, versions.get(registered.store, NAME, 3))


def encoded() -> dict[str, str]:
    return {name: base64.b64encode(content).decode() for name, content in golden.images().items()}


def test_command(registered: Registry, pinned: dict[str, float]) -> None:
    folder = folder_of_challenger(registered)
    command = [sys.executable, "-m", "pneumonia.cli", "predict", "--format", "json", "--bundle", str(folder)]
    output = subprocess.run([*command, str(golden.FOLDER)], capture_output=True, text=True, check=True).stdout
    answers = {Path(row["file"]).name: row["probability"] for row in json.loads(output)["answers"]}
    assert golden.largest_difference(pinned, answers) < TOLERANCE


def test_logged_model(registered: Registry, pinned: dict[str, float]) -> None:
    import mlflow

    mlflow.set_tracking_uri(registered.store.uri)
    try:
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@challenger")
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    answers = model.predict(pd.DataFrame({"image": list(golden.images().values())}))
    assert golden.largest_difference(pinned, dict(zip(pinned, answers["probability"], strict=True))) < TOLERANCE


@pytest.mark.slow
def test_model_server(registered: Registry, pinned: dict[str, float], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"models:/{NAME}@challenger"]
    command += ["--port", str(port), "--env-manager", "local", "--workers", "1"]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": registered.store.uri,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            served = _ask(f"http://127.0.0.1:{port}/invocations", server, tmp_path / "log")
        finally:
            os.killpg(server.pid, 15)
            server.wait()
    assert golden.largest_difference(pinned, dict(zip(pinned, served, strict=True))) < TOLERANCE


def _ask(address: str, server: subprocess.Popen[bytes], log: Path) -> list[float]:
    body = json.dumps({"dataframe_split": {"columns": ["image"], "data": [[text] for text in encoded().values()]}})
    request = urllib.request.Request(address, body.encode(), {"Content-Type": "application/json"})
    deadline = time.monotonic() + 180
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return [row["probability"] for row in json.load(response)["predictions"]]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{error.code}: {error.read()!r}")
        except OSError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)
