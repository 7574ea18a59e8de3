"""What the service writes to the log of predictions, and that a broken log never spoils an answer."""

import sqlite3
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from pneumonia.app.main import create_app
from pneumonia.app.settings import Settings
from pneumonia.monitoring.log import Log, Window, default_url
from tests.app.conftest import BASE_URL, encode, send

BLANK = encode(np.full((200, 200), 90, np.uint8))


def start(bundle: Path, state: Path) -> TestClient:
    """Return an application that ends, and so has written its log, with the block that it is used in."""
    return TestClient(create_app(Settings(bundle=bundle, state=state)), base_url=BASE_URL)


def test_every_image_is_logged_with_its_verdict_and_nothing_that_names_anybody(
    bundle: Path, radiograph: bytes, tmp_path: Path
) -> None:
    with start(bundle, tmp_path / "state") as client:
        said = send(
            client, ("DOE_JANE.png", radiograph), ("blank.png", BLANK), ("broken.png", radiograph[:999]), blinded=True
        )
        verdict = {"verdict": "NORMAL", "blinded": True}
        assert client.post(f"/api/v1/predictions/{said[0]['id']}/feedback", json=verdict).status_code == 200
    log = Log(default_url(tmp_path / "state"))
    found, labelled = log.window(Window()).set_index("id"), log.labelled(Window())
    log.close()
    assert set(found.index) == {each["id"] for each in said}
    found = found.loc[[each["id"] for each in said]]
    assert found["status"].tolist() == ["answered", "refused", "unreadable"]
    assert found["refusal"].tolist()[1:] == ["blank", "unreadable"]
    assert found["decision"].notna().tolist() == [True, False, False]  # withheld from the reader, not from the log
    assert found["format"].tolist()[:2] == ["PNG", "PNG"]
    assert (found["latency_ms"] > 0).all()
    assert set(found["source"]) == {"app"}
    assert labelled[["id", "label", "blinded", "label_source"]].iloc[0].tolist() == [
        said[0]["id"],
        "NORMAL",
        True,
        "reader",
    ]
    assert b"DOE" not in b"".join(file.read_bytes() for file in (tmp_path / "state").glob("log.db*"))


def test_a_log_that_breaks_is_counted_and_answers_go_on(bundle: Path, radiograph: bytes, tmp_path: Path) -> None:
    with start(bundle, tmp_path / "state") as client:
        with sqlite3.connect(tmp_path / "state" / "log.db") as connection:
            connection.execute("DROP TABLE predictions")
        connection.close()
        assert send(client, ("one.png", radiograph))[0]["status"] == "answered"
        app = client.app
    assert "pneumonia_log_failures_total 1.0" in app.state.metrics.render().decode()  # type: ignore[attr-defined]
