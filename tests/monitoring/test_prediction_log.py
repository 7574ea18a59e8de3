"""The log of predictions in real databases, and what a record says of real images."""

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

from pneumonia.app.store import Store
from pneumonia.data import phantom
from pneumonia.errors import MonitoringError
from pneumonia.inference.intake import Limits, take_in
from pneumonia.inference.runtime import Reading
from pneumonia.monitoring.log import Label, Log, Window, version
from pneumonia.monitoring.record import Answering, Record, record
from tests.monitoring.records import BUNDLE, START, draw

MODEL = Answering("bright", 3, BUNDLE, 0.5)
LIMITS = Limits(10**7, 10**7)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_what_was_added_comes_back_once_in_the_order_of_time(url: str, rng: np.random.Generator) -> None:
    log = Log(url)
    records = [draw(rng, number) for number in (2, 0, 1)]
    log.add(records)
    log.add([*records, draw(rng, 3, bundle_sha256="cd" * 32, refusal="blank", decision=None, probability=None)])
    found = log.window(Window())
    assert list(found["id"]) == [str(each.id) for each in (records[1], records[2], records[0])] + [found["id"].iloc[3]]
    first = found.iloc[0]
    for name, value in asdict(records[1]).items():
        if name in ("id", "time", "maker", "view", "refusal"):
            continue
        assert first[name] == value, name
    assert first["time"].to_pydatetime() == records[1].time
    assert found["refusal"].notna().tolist() == [False, False, False, True]
    assert [each.predictions for each in log.models()] == [1, 3]
    assert log.models()[1].first == START
    log.close()


def test_windows_are_by_model_time_and_number(url: str, rng: np.random.Generator) -> None:
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


def test_of_several_labels_the_latest_counts_and_one_may_come_first(url: str, rng: np.random.Generator) -> None:
    log = Log(url)
    labelled, other = draw(rng, 0), draw(rng, 1)
    early = Label(labelled.id, "reader", START, "NORMAL", True)
    late = Label(labelled.id, "reader", START + timedelta(days=1), "PNEUMONIA", False)
    log.add_labels([late, early, early])
    log.add([labelled, other])
    found = log.labelled(Window(BUNDLE))
    assert found["id"].tolist() == [str(labelled.id)]
    assert found[["label", "blinded", "label_source"]].iloc[0].tolist() == ["PNEUMONIA", False, "reader"]
    log.close()


def test_it_is_read_while_it_is_written(url: str, rng: np.random.Generator) -> None:
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


def test_a_database_of_the_application_or_of_another_release_is_refused(url: str) -> None:
    Store(url, b"k" * 32).close()
    with pytest.raises(MonitoringError, match="needs a database of its own"):
        Log(url)


def test_a_log_of_another_release_is_refused(url: str) -> None:
    log = Log(url)
    log.close()
    engine = sql.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sql.NullPool)
    with engine.begin() as connection:
        connection.execute(sql.update(version).values(number=99))
    with pytest.raises(MonitoringError, match=r"version 99, expected 1.*Install that release"):
        Log(url)


def test_a_log_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(MonitoringError, match="--log"):
        Log(f"sqlite:///{tmp_path}")
    with pytest.raises(MonitoringError, match="Expected sqlite:///FILE"):
        Log("nonsense")


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def note(content: bytes, **facts: Any) -> Record:
    """Note the image as the application would."""
    intake = replace(take_in(content, 64, LIMITS), **facts)
    reading = Reading(0.75, "PNEUMONIA", False, 0.5, None, (), np.array([1.5, -2.0], np.float32))
    return record(MODEL, intake, reading, None, id=uuid.uuid4(), source="cli", latency_ms=3.0)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(phantom.draw(np.random.default_rng(3), "bacteria", size=160, difficulty=0).pixels)


def test_a_record_says_how_the_file_was_made(picture: Image.Image) -> None:
    jpeg, png = note(encoded(picture, "JPEG", quality=37)), note(encoded(picture.convert("RGB"), "PNG"))
    assert (jpeg.format, jpeg.mode, jpeg.jpeg_quality) == ("JPEG", "L", 37)
    assert (png.format, png.mode, png.jpeg_quality) == ("PNG", "RGB", None)
    assert (png.width, png.height, png.aspect) == (*picture.size, picture.width / picture.height)
    assert (png.decision, png.probability, png.status, png.refusal) == ("PNEUMONIA", 0.75, "answered", None)
    assert (png.component_0, png.component_1, png.component_2) == (1.5, -2.0, None)
    assert png.time.tzinfo is UTC


def test_a_record_tells_blur_and_exposure(picture: Image.Image) -> None:
    plain = note(encoded(picture, "PNG"))
    blurred = note(encoded(picture.filter(ImageFilter.GaussianBlur(4)), "PNG"))
    dark = note(encoded(picture.point(lambda level: level // 3), "PNG"))
    white = note(encoded(picture.point(lambda level: min(255, 4 * level)), "PNG"))
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
def test_of_free_text_only_known_makers_and_views_are_kept(
    picture: Image.Image, maker: str | None, kept: str | None
) -> None:
    noted = note(encoded(picture, "PNG"), maker=maker, view="JANE", patient_identifier="MRN 4711")
    assert (noted.maker, noted.view) == (kept, None)
    assert note(encoded(picture, "PNG"), view="AP").view == "AP"
    assert "4711" not in str(noted)


def test_an_unreadable_file_has_no_facts() -> None:
    noted = record(MODEL, None, None, "unreadable", id=uuid.uuid4(), source="batch", latency_ms=None)
    assert (noted.status, noted.refusal, noted.format, noted.probability) == ("unreadable", "unreadable", None, None)
