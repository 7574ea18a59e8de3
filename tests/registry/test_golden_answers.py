"""Every way to an answer gives for the golden images what training has pinned: command, logged model, model server."""

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

from pneumonia.inference import golden
from pneumonia.models import bundle as bundles
from pneumonia.registry import versions
from tests.registry.conftest import NAME, Registry

TOLERANCE = 1e-4


@pytest.fixture
def pinned(registry: Registry) -> dict[str, float]:
    version = versions.get(registry.store, NAME, registry.register())
    return bundles.read(versions.bundle(registry.store, version)).card.golden


def encoded() -> dict[str, str]:
    return {name: base64.b64encode(content).decode() for name, content in golden.images().items()}


def test_command(registry: Registry, pinned: dict[str, float]) -> None:
    folder = versions.bundle(registry.store, versions.get(registry.store, NAME, 1))
    command = [sys.executable, "-m", "pneumonia.cli", "predict", "--format", "json", "--bundle", str(folder)]
    told = subprocess.run([*command, str(golden.FOLDER)], capture_output=True, text=True, check=True).stdout
    answered = {Path(row["file"]).name: row["probability"] for row in json.loads(told)["answers"]}
    assert golden.largest_difference(pinned, answered) < TOLERANCE


def test_logged_model_and_model_server(registry: Registry, pinned: dict[str, float], tmp_path: Path) -> None:
    import mlflow

    mlflow.set_tracking_uri(registry.store.uri)
    try:
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@challenger")
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    answers = model.predict(pd.DataFrame({"image": list(golden.images().values())}))
    assert golden.largest_difference(pinned, dict(zip(pinned, answers["probability"], strict=True))) < TOLERANCE

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"models:/{NAME}@challenger"]
    command += ["--port", str(port), "--env-manager", "local", "--workers", "1"]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": registry.store.uri,
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
