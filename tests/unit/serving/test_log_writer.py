"""What the application writes to the prediction log, and that a broken log does not affect results."""

import sqlite3
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from pneumonia.monitoring.log import Log, Window, default_url
from pneumonia.serving.main import create_app
from pneumonia.serving.settings import AppSettings
from tests.unit.serving.conftest import BASE_URL, encode, send

BLANK = encode(np.full((200, 200), 90, np.uint8))


def start(bundle: Path, state: Path) -> TestClient:
    """Return an application; at the end of its context its log is written."""
    return TestClient(create_app(AppSettings(bundle=bundle, state=state)), base_url=BASE_URL)


def test_images_are_logged_with_verdicts_and_without_identifiers(
    bundle: Path, radiograph: bytes, tmp_path: Path
) -> None:
    with start(bundle, tmp_path / "state") as client:
        predictions = send(
            client, ("DOE_JANE.png", radiograph), ("blank.png", BLANK), ("broken.png", radiograph[:999]), blinded=True
        )
        verdict = {"verdict": "NORMAL", "blinded": True}
        assert client.post(f"/api/v1/predictions/{predictions[0]['id']}/feedback", json=verdict).status_code == 200
    log = Log(default_url(tmp_path / "state"))
    logged, labelled = log.window(Window()).set_index("id"), log.labelled(Window())
    log.close()
    assert set(logged.index) == {each["id"] for each in predictions}
    logged = logged.loc[[each["id"] for each in predictions]]
    assert logged["status"].tolist() == ["answered", "refused", "unreadable"]
    assert logged["refusal"].tolist()[1:] == ["blank", "unreadable"]
    assert logged["decision"].notna().tolist() == [True, False, False]  # withheld from the reader, not from the log
    assert logged["format"].tolist()[:2] == ["PNG", "PNG"]
    assert (logged["latency_ms"] > 0).all()
    assert set(logged["source"]) == {"app"}
    assert labelled[["id", "label", "blinded", "label_source"]].iloc[0].tolist() == [
        predictions[0]["id"],
        "NORMAL",
        True,
        "reader",
    ]
    assert b"DOE" not in b"".join(file.read_bytes() for file in (tmp_path / "state").glob("log.db*"))


def test_failed_writes_are_counted_and_do_not_affect_results(bundle: Path, radiograph: bytes, tmp_path: Path) -> None:
    with start(bundle, tmp_path / "state") as client:
        with sqlite3.connect(tmp_path / "state" / "log.db") as connection:
            connection.execute("DROP TABLE predictions")
        connection.close()
        assert send(client, ("one.png", radiograph))[0]["status"] == "answered"
        app = client.app
    assert "pneumonia_log_failures_total 1.0" in app.state.metrics.render().decode()  # type: ignore[attr-defined]
