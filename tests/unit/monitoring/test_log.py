"""The prediction log in SQLite and PostgreSQL, and records of images."""

import io
import threading
import uuid
from dataclasses import asdict, replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sql
from PIL import Image, ImageFilter

from pneumonia.core.errors import MonitoringError
from pneumonia.data import phantom
from pneumonia.inference.intake import Limits, take_in
from pneumonia.inference.runtime import Reading
from pneumonia.monitoring.log import Label, Log, Window, version
from pneumonia.monitoring.record import ModelIdentity, PredictionRecord, make_record
from pneumonia.serving.prediction_store import PredictionStore
from tests.support.records import BUNDLE, START, draw

MODEL = ModelIdentity("bright", 3, BUNDLE, 0.5)
LIMITS = Limits(10**7, 10**7)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_predictions_are_stored_once_and_returned_in_order_of_time(url: str, rng: np.random.Generator) -> None:
    log = Log(url)
    records = [draw(rng, number) for number in (2, 0, 1)]
    log.add(records)
    log.add([*records, draw(rng, 3, bundle_sha256="cd" * 32, refusal="blank", decision=None, probability=None)])
    window = log.window(Window())
    assert list(window["id"]) == [str(each.id) for each in (records[1], records[2], records[0])] + [
        window["id"].iloc[3]
    ]
    first = window.iloc[0]
    for name, value in asdict(records[1]).items():
        if name in ("id", "time", "maker", "view", "refusal"):
            continue
        assert first[name] == value, name
    assert first["time"].to_pydatetime() == records[1].time
    assert window["refusal"].notna().tolist() == [False, False, False, True]
    assert [each.predictions for each in log.models()] == [1, 3]
    assert log.models()[1].first == START
    log.close()


def test_windows_select_by_model_time_and_number(url: str, rng: np.random.Generator) -> None:
    log = Log(url)
    log.add([draw(rng, number) for number in range(6)])
    log.add([draw(rng, number, bundle_sha256="cd" * 32) for number in range(6)])

    def minutes(window: Window) -> list[int]:
        return [moment.minute for moment in log.window(window, ["time"])["time"]]

    assert minutes(Window(BUNDLE, last=2)) == [4, 5]
    assert minutes(Window(BUNDLE, since=START + timedelta(minutes=2), until=START + timedelta(minutes=4))) == [2, 3]
    assert minutes(Window(BUNDLE, until=START + timedelta(minutes=4), last=1)) == [3]
    assert minutes(Window("ef" * 32)) == []
    log.close()


def test_latest_label_is_returned_and_a_label_may_precede_its_prediction(url: str, rng: np.random.Generator) -> None:
    log = Log(url)
    labelled, other = draw(rng, 0), draw(rng, 1)
    early = Label(labelled.id, "reader", START, "NORMAL", True)
    late = Label(labelled.id, "reader", START + timedelta(days=1), "PNEUMONIA", False)
    log.add_labels([late, early, early])
    log.add([labelled, other])
    labelled_rows = log.labelled(Window(BUNDLE))
    assert labelled_rows["id"].tolist() == [str(labelled.id)]
    assert labelled_rows[["label", "blinded", "label_source"]].iloc[0].tolist() == ["PNEUMONIA", False, "reader"]
    log.close()


def test_log_is_readable_during_writes(url: str, rng: np.random.Generator) -> None:
    log, writer = Log(url), Log(url)
    records = [draw(rng, number) for number in range(400)]

    def write() -> None:
        for start in range(0, 400, 10):
            writer.add(records[start : start + 10])

    thread = threading.Thread(target=write)
    thread.start()
    sizes = [len(log.window(Window(), ["time"])) for _ in range(20)]
    thread.join()
    assert sizes == sorted(sizes)
    assert all(size % 10 == 0 for size in sizes)
    assert len(log.window(Window(), ["time"])) == 400
    log.close()
    writer.close()


def test_database_of_the_web_application_is_refused(url: str) -> None:
    PredictionStore(url, b"k" * 32).close()
    with pytest.raises(MonitoringError, match="needs a database of its own"):
        Log(url)


def test_log_of_another_release_is_refused(url: str) -> None:
    log = Log(url)
    log.close()
    engine = sql.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sql.NullPool)
    with engine.begin() as connection:
        connection.execute(sql.update(version).values(number=99))
    with pytest.raises(MonitoringError, match=r"version 99, expected 1.*Install that release"):
        Log(url)


def test_error_of_a_log_that_cannot_be_opened_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(MonitoringError, match="--log"):
        Log(f"sqlite:///{tmp_path}")
    with pytest.raises(MonitoringError, match="Expected sqlite:///FILE"):
        Log("nonsense")


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def record_of(content: bytes, **properties: Any) -> PredictionRecord:
    """Return the record of an image, as the web application makes it."""
    intake = replace(take_in(content, 64, LIMITS), **properties)
    reading = Reading(0.75, "PNEUMONIA", False, 0.5, None, (), np.array([1.5, -2.0], np.float32))
    return make_record(MODEL, intake, reading, None, id=uuid.uuid4(), source="cli", latency_ms=3.0)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(phantom.draw(np.random.default_rng(3), "bacteria", size=160, difficulty=0).pixels)


def test_record_has_the_encoding_of_the_file(picture: Image.Image) -> None:
    jpeg, png = record_of(encoded(picture, "JPEG", quality=37)), record_of(encoded(picture.convert("RGB"), "PNG"))
    assert (jpeg.format, jpeg.mode, jpeg.jpeg_quality) == ("JPEG", "L", 37)
    assert (png.format, png.mode, png.jpeg_quality) == ("PNG", "RGB", None)
    assert (png.width, png.height, png.aspect) == (*picture.size, picture.width / picture.height)
    assert (png.decision, png.probability, png.status, png.refusal) == ("PNEUMONIA", 0.75, "answered", None)
    assert (png.component_0, png.component_1, png.component_2) == (1.5, -2.0, None)
    assert png.time.tzinfo is UTC


def test_record_measures_blur_and_exposure(picture: Image.Image) -> None:
    plain = record_of(encoded(picture, "PNG"))
    blurred = record_of(encoded(picture.filter(ImageFilter.GaussianBlur(4)), "PNG"))
    dark = record_of(encoded(picture.point(lambda level: level // 3), "PNG"))
    white = record_of(encoded(picture.point(lambda level: min(255, 4 * level)), "PNG"))
    assert plain.sharpness and blurred.sharpness and plain.brightness and dark.brightness  # noqa: PT018
    assert plain.clipped_bright is not None
    assert white.clipped_bright is not None
    assert blurred.sharpness < plain.sharpness / 2
    assert dark.brightness == pytest.approx(plain.brightness / 3, abs=2)
    assert white.clipped_bright > plain.clipped_bright + 0.2


@pytest.mark.parametrize(
    ("maker", "kept"),
    [
        ("GE MEDICAL SYSTEMS", "GE"),
        ("Philips Medical Systems", "PHILIPS"),
        ("Doe Jane, MRN 4711", "OTHER"),
        ("Gerald Doe", "OTHER"),
        (None, None),
    ],
)
def test_only_listed_manufacturers_and_views_are_kept(
    picture: Image.Image, maker: str | None, kept: str | None
) -> None:
    record = record_of(encoded(picture, "PNG"), maker=maker, view="JANE", patient_identifier="MRN 4711")
    assert (record.maker, record.view) == (kept, None)
    assert record_of(encoded(picture, "PNG"), view="AP").view == "AP"
    assert "4711" not in str(record)


def test_record_of_an_unreadable_file_has_no_properties() -> None:
    record = make_record(MODEL, None, None, "unreadable", id=uuid.uuid4(), source="batch", latency_ms=None)
    assert (record.status, record.refusal, record.format, record.probability) == (
        "unreadable",
        "unreadable",
        None,
        None,
    )
