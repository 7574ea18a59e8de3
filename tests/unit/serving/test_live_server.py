"""The server and its command: logs, stored data, slow connections, and messages of failed starts."""

import io
import json
import os
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from click.testing import CliRunner
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from pneumonia.cli import serve as commands
from pneumonia.serving import telemetry
from pneumonia.serving.access import ApiKeys, PasswordVerifier
from pneumonia.serving.settings import AppSettings, RequestLimits
from tests.support import live
from tests.unit.serving.conftest import Server, draw, encode

IDENTIFIERS = {
    "PatientName": "Zwiebelkron^Ottokar",
    "PatientID": "MRN-90817263",
    "PatientBirthDate": "19871231",
    "AccessionNumber": "ACC5544332211",
    "InstitutionName": "Spital Hintertupfing",
    "ReferringPhysicianName": "Quacksalber^Eusebius",
    "StudyDescription": "Thorax Ottokar Zwiebelkron",
    "PatientAddress": "Rosengasse 17",
    "IssuerOfPatientID": "HINTERTUPF",
    "OperatorsName": "Schwester^Hildegunde",
    "PatientComments": "Nachbar von Balthasar",
}
WORDS = [part.encode() for value in IDENTIFIERS.values() for part in value.replace("^", " ").split() if len(part) > 3]
HEAVY_PACKAGES = ("tensorflow", "keras", "mlflow", "evidently", "pandas", "scipy", "sklearn", "matplotlib", "dvc")


def dicom(**changes: Any) -> bytes:
    """A radiograph with identifiers in many attributes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    pixels = draw(1)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    dataset.Modality = "CR"
    for keyword, value in IDENTIFIERS.items():
        setattr(dataset, keyword, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
        for keyword, value in changes.items():
            element = pydicom.DataElement(keyword, pydicom.datadict.dictionary_VR(keyword), "1")
            element._value = value
            dataset[keyword] = element
        file = io.BytesIO()
        dataset.save_as(file)
    return file.getvalue()


MALFORMED = {
    "rows": {"Rows": 0},
    "maker": {"Manufacturer": "Zwiebelkron " * 30},
    "view": {"ViewPosition": "Zwiebelkron"},
    "frontal view": {"ViewPosition": "AP ZWIEBELKRON"},
    "modality": {"Modality": "OTTOKAR"},
    "age": {"PatientAge": "Zwiebelkron"},
    "body": {"BodyPartExamined": "Rosengasse"},
    "window": {"WindowCenter": "Zwiebelkron", "WindowWidth": "Ottokar"},
    "uid": {"StudyInstanceUID": "Zwiebelkron"},
    "photometric": {"PhotometricInterpretation": "ZWIEBELKRON"},
}


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``pneumonia serve`` in a process of its own, with the state folder ``state``."""
    started = Server("--bundle", str(bundle), "--state", "state", cwd=tmp_path_factory.mktemp("server"))
    yield started
    started.stop()


def test_identifiers_are_in_neither_log_nor_database(server: Server) -> None:
    address = f"http://127.0.0.1:{server.wait_for_port()}"
    statuses = {}
    for name, changes in {"good": {}, **MALFORMED}.items():
        content = dicom(**changes)
        assert all(word in content for word in WORDS)
        for part in (content, content[: len(content) // 2]):
            files = {"files": (f"Zwiebelkron_Ottokar_{name}.dcm", part)}
            response = requests.post(f"{address}/api/v1/predictions", files=files, timeout=60)
            assert response.status_code == 200, response.text
            (prediction,) = response.json()["predictions"]
            statuses.setdefault(name, prediction["status"])
        requests.get(f"{address}/api/v1/predictions/Zwiebelkron", timeout=60)
        requests.get(f"{address}/MRN-90817263?patient=Zwiebelkron", timeout=60)
    metrics = requests.get(f"{address}/metrics", timeout=60).content
    assert statuses["good"] == "answered"
    assert "unreadable" in statuses.values()
    state = server.log.parent / "state"
    stored = b"".join(file.read_bytes() for file in sorted(state.glob("*.db*")))
    logged = server.log.read_bytes()
    assert b"DICOM" in stored
    assert b"/api/v1/predictions" in logged
    for word in WORDS:
        for output in (stored, logged, metrics):
            assert word.lower() not in output.lower(), word
    assert stat.S_IMODE((state / "secret.key").stat().st_mode) == 0o600
    for event in server.events():
        assert {"time", "level", "logger"} <= event.keys()


def test_log_lines_are_json_and_errors_have_frames_but_no_messages(server: Server) -> None:
    address = f"http://127.0.0.1:{server.wait_for_port()}"
    file = server.log.parent / "state/predictions.db"
    execute(file, "ALTER TABLE predictions RENAME TO other")
    try:
        files = {"files": ("Zwiebelkron.png", encode(draw(1)))}
        response = requests.post(f"{address}/api/v1/predictions", files=files, timeout=60)
    finally:
        execute(file, "ALTER TABLE other RENAME TO predictions")
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    errors = [event for event in server.events() if event.get("event") == "unhandled error"]
    assert errors[0]["error"]
    assert any("prediction_store.py" in frame for frame in errors[0]["frames"])
    assert "Zwiebelkron" not in server.log.read_text()
    json.dumps(errors)


def execute(file: Path, statement: str) -> None:
    database = sqlite3.connect(file)
    with database:
        database.execute(statement)
    database.close()


def test_slow_connections_are_closed(bundle: Path, tmp_path: Path) -> None:
    limits = RequestLimits(header_seconds=0.3, upload_seconds=0.3)
    half_headers = b"POST /api/v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
    half_body = (
        b"POST /api/v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    requests_sent = {
        "nothing": b"",
        "half of the headers": half_headers,
        "half of the body": half_body,
        "endless headers": half_headers + b"x" * 200_000,
        "half of the headers after a request": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + half_headers,
    }
    with live.serving(AppSettings(bundle=bundle, state=tmp_path / "state", limits=limits)) as url:
        port = int(url.rsplit(":", 1)[1])
        responses = {name: read_until_closed(port, content) for name, content in requests_sent.items()}
        assert responses["nothing"] == responses["half of the headers"] == b""
        assert responses["half of the body"].startswith(b"HTTP/1.1 408 ")
        assert b"slow_upload" in responses["half of the body"]
        assert responses["half of the headers after a request"].startswith(b"HTTP/1.1 200 ")
        assert requests.get(f"{url}/healthz", timeout=60).status_code == 200


def read_until_closed(port: int, content: bytes) -> bytes:
    """Send bytes and return what is received until the server closes the connection; fail after a minute."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            connection.sendall(content)
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
    return received


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """Runs commands in this process, in an empty folder, without changing its logging and environment."""
    monkeypatch.setattr(telemetry, "configure_logging", lambda: None)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.chdir(tmp_path)
    return CliRunner()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "reachable from other machines"),
        (["--hostname", "ward.example.org"], "reachable from other machines"),
        (["--bundle", "nowhere"], "is not a bundle"),
        (["--key-file", "nowhere"], "nowhere cannot be read"),
        (["--database", "nonsense"], "database URL is invalid"),
    ],
)
def test_failed_start_has_a_message_of_one_line(
    runner: CliRunner, bundle: Path, options: list[str], message: str
) -> None:
    result = runner.invoke(commands.serve, ["--bundle", str(bundle), *options])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert message in line


def test_commands_create_keys_and_passwords(runner: CliRunner, tmp_path: Path) -> None:
    created = runner.invoke(commands.access, ["key", "keys", "ward"])
    assert ApiKeys(tmp_path / "keys").verify(created.stdout.strip())
    again = runner.invoke(commands.access, ["key", "keys", "ward"])
    assert (again.exit_code, again.stdout) == (1, "")
    password = "correct horse battery\n" * 2
    assert runner.invoke(commands.access, ["password", "password"], input=password).exit_code == 0
    assert PasswordVerifier(tmp_path / "password").verify("correct horse battery")
    assert runner.invoke(commands.access, ["password", "other"], input="short\n" * 2).exit_code == 1


def test_application_imports_no_heavy_package() -> None:
    program = f"import sys, pneumonia.serving.main; print([name for name in {HEAVY_PACKAGES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
