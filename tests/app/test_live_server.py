"""The real command in a process of its own: what it logs, what it stores, and what it does with rude connections."""

import io
import json
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from pneumonia.app.access import Keys, Password
from tests.app.conftest import Server, draw, encode

PLANTED = {
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
NEEDLES = [part.encode() for value in PLANTED.values() for part in value.replace("^", " ").split() if len(part) > 3]


def dicom(**changes: Any) -> bytes:
    """A radiograph that names its patient everywhere."""
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
    for keyword, value in PLANTED.items():
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


def sqlite_bytes(state: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(state.glob("predictions.db*")))


def test_identifiers_reach_neither_log_nor_database(
    serve: Callable[..., Server], bundle: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    server = serve("--bundle", str(bundle), "--state", str(state))
    address = f"http://127.0.0.1:{server.wait_for_port()}"
    statuses = {}
    for name, changes in {"good": {}, **MALFORMED}.items():
        content = dicom(**changes)
        assert all(needle in content for needle in NEEDLES)
        for cut in (content, content[: len(content) // 2]):
            files = {"files": (f"Zwiebelkron_Ottokar_{name}.dcm", cut)}
            response = requests.post(f"{address}/api/v1/predictions", files=files, timeout=60)
            assert response.status_code == 200, response.text
            (said,) = response.json()["predictions"]
            statuses.setdefault(name, said["status"])
        requests.get(f"{address}/api/v1/predictions/Zwiebelkron", timeout=60)
        requests.get(f"{address}/MRN-90817263?patient=Zwiebelkron", timeout=60)
    metrics = requests.get(f"{address}/metrics", timeout=60).content
    server.stop()
    assert statuses["good"] == "answered"
    assert "unreadable" in statuses.values()
    stored, logged = sqlite_bytes(state), server.log.read_bytes()
    assert b"DICOM" in stored
    assert b"/api/v1/predictions" in logged
    for needle in NEEDLES:
        for place in (stored, logged, metrics):
            assert needle.lower() not in place.lower(), needle
    assert stat.S_IMODE((state / "secret.key").stat().st_mode) == 0o600
    for event in server.events():
        assert {"time", "level", "logger"} <= event.keys()


def test_connections_that_keep_it_waiting_are_closed(bundle: Path, tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from pneumonia.app import monitoring, server
from pneumonia.app.main import create_app
from pneumonia.app.settings import Limits, Settings
told = Settings(bundle=Path({str(bundle)!r}), state=Path({str(tmp_path / "state")!r}), port=0,
                limits=Limits(header_seconds=0.5, upload_seconds=0.5))
monitoring.configure_logging()
server.run(create_app(told), told)
"""
    rude = Server.__new__(Server)
    rude.log = tmp_path / "log.jsonl"
    with rude.log.open("wb") as log:
        rude.process = subprocess.Popen([sys.executable, "-c", script], stdout=log, stderr=log)
    try:
        port = rude.wait_for_port()
        half_a_head = b"POST /api/v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
        half_a_body = (
            b"POST /api/v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        endless_head = half_a_head + b"x" * 200_000
        after_one = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + half_a_head
        answers = {}
        for name, sent in {
            "nothing": b"",
            "half a head": half_a_head,
            "half a body": half_a_body,
            "endless head": endless_head,
            "half a head after a request": after_one,
        }.items():
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                answer = b""
                try:
                    connection.sendall(sent)
                    while received := connection.recv(65536):  # until it is closed; else this times out
                        answer += received
                except ConnectionResetError:
                    pass
                answers[name] = answer
        assert answers["nothing"] == answers["half a head"] == b""
        assert answers["half a body"].startswith(b"HTTP/1.1 408 ")
        assert b"slow_upload" in answers["half a body"]
        assert answers["half a head after a request"].startswith(b"HTTP/1.1 200 ")
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=60).status_code == 200
    finally:
        rude.stop()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "can be reached by others"),
        (["--hostname", "ward.example.org"], "can be reached by others"),
        (["--bundle", "nowhere"], "is not a bundle"),
        (["--key-file", "nowhere"], "nowhere cannot be read"),
        (["--database", "nonsense"], "database URL is not understood"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    serve: Callable[..., Server], bundle: Path, options: list[str], says: str
) -> None:
    server = serve(*(options if "--bundle" in options else ["--bundle", str(bundle), *options]))
    assert server.process.wait(120) == 1
    lines = server.log.read_text().splitlines()
    assert lines[-1].startswith("Error: ")
    assert says in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_keys_and_passwords_are_made_by_the_command(tmp_path: Path) -> None:
    def access(*arguments: str, told: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from pneumonia.app.command import access; access()", *arguments],
            input=told,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    made = access("key", "keys", "ward")
    assert Keys(tmp_path / "keys").accept(made.stdout.strip())
    again = access("key", "keys", "ward")
    assert (again.returncode, again.stdout) == (1, "")
    assert access("password", "password", told="correct horse battery\n" * 2).returncode == 0
    assert Password(tmp_path / "password").accept("correct horse battery")
    assert access("password", "other", told="short\n" * 2).returncode == 1


def test_log_lines_are_json_and_errors_have_places_but_no_messages(
    serve: Callable[..., Server], bundle: Path, tmp_path: Path
) -> None:
    server = serve("--bundle", str(bundle), "--state", str(tmp_path / "state"))
    address = f"http://127.0.0.1:{server.wait_for_port()}"
    with sqlite3.connect(tmp_path / "state/predictions.db") as database:
        database.execute("DROP TABLE predictions")
    database.close()
    response = requests.post(
        f"{address}/api/v1/predictions", files={"files": ("Zwiebelkron.png", encode(draw(1)))}, timeout=60
    )
    server.stop()
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    bugs = [event for event in server.events() if event.get("event") == "bug"]
    assert bugs[0]["error"]
    assert any("store.py" in place for place in bugs[0]["places"])
    assert "Zwiebelkron" not in server.log.read_text()
    json.dumps(bugs)
