"""The prediction database on SQLite and, where installed, PostgreSQL."""

import sqlite3
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from pneumonia.core.errors import ServiceError
from pneumonia.serving.prediction_store import MIGRATIONS, PredictionEntry, PredictionStore
from pneumonia.serving.pseudonyms import pseudonymize
from pneumonia.serving.schemas import (
    ImageInfo,
    IndeterminateBand,
    ModelInfo,
    ObservedFrequency,
    Prediction,
    RefusalReason,
)
from pneumonia.serving.tables import metadata

KEY = b"k" * 32
MODEL = ModelInfo(
    name="bright", version=3, origin="version 3", bundle_sha256="ab" * 32, data="kermany", is_phantom=False
)


def answered(**changes: Any) -> Prediction:
    fields = {
        "id": uuid.uuid4(),
        "created": datetime(2026, 1, 2, 3, 4, 5, 678, UTC),
        "file": "DOE_JANE.png",
        "status": "answered",
        "decision": "NORMAL",
        "probability": 0.25,
        "threshold": 0.5,
        "band": IndeterminateBand(low=0.4, high=0.6),
        "familiarity": 0.75,
        "refusal": None,
        "warnings": ["less familiar"],
        "image": ImageInfo(format="DICOM", width=1500, height=1100, view="AP"),
        "model": MODEL,
        "meaning": ObservedFrequency(share=0.1, low=None, high=0.2, images=40),
        "feedback": [],
    }
    return Prediction.model_validate(fields | changes)


@pytest.fixture
def store(url: str) -> Iterator[PredictionStore]:
    opened = PredictionStore(url, KEY)
    yield opened
    opened.close()


def raw(url: str) -> sql.Engine:
    address = url.replace("postgresql://", "postgresql+psycopg://")
    return sql.create_engine(address, poolclass=sql.NullPool)  # closes every connection after use


def test_predictions_are_stored_without_file_names(store: PredictionStore) -> None:
    shown, hidden = answered(), answered(hidden=True)
    store.add([PredictionEntry(shown, "patient", (0.5, -1.5)), PredictionEntry(hidden)])
    assert store.get(shown.id) == shown.model_copy(update={"file": ""})
    assert store.get(hidden.id) == hidden.model_copy(update={"file": ""})
    assert store.get(uuid.uuid4()) is None


def test_reasons_that_may_quote_the_file_are_not_stored(store: PredictionStore) -> None:
    no_result: dict[str, Any] = {"decision": None, "probability": None, "meaning": None}
    quoting = RefusalReason(code="unreadable", reason="invalid value 'DOE^JANE'")
    unreadable = answered(status="unreadable", refusal=quoting, image=None, **no_result)
    refused = answered(status="refused", refusal=RefusalReason(code="adult", reason="too old"), **no_result)
    store.add([PredictionEntry(unreadable), PredictionEntry(refused)])
    unreadable_stored, refused_stored = store.get(unreadable.id), store.get(refused.id)
    assert unreadable_stored is not None
    assert unreadable_stored.refusal is not None
    assert unreadable_stored.refusal.code == "unreadable"
    assert "DOE" not in unreadable_stored.refusal.reason
    assert refused_stored is not None
    assert refused_stored.refusal == refused.refusal


def test_recent_predictions_are_newest_first_with_feedback(store: PredictionStore) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    entries = [PredictionEntry(answered(created=start + timedelta(minutes=minute))) for minute in (2, 0, 1)]
    store.add(entries)
    store.add_feedback(entries[2].prediction.id, "UNSURE", blinded=False)
    result = store.recent(2)
    assert [prediction.created.minute for prediction in result] == [2, 1]
    assert [len(prediction.feedback) for prediction in result] == [0, 1]


def test_verdict_is_blinded_only_while_the_result_is_withheld(store: PredictionStore) -> None:
    hidden, revealed, shown = answered(hidden=True), answered(hidden=True), answered()
    store.add([PredictionEntry(hidden), PredictionEntry(revealed), PredictionEntry(shown)])
    store.reveal(revealed.id)
    for prediction, counts in ((hidden, True), (revealed, False), (shown, False)):
        updated = store.add_feedback(prediction.id, "PNEUMONIA", blinded=True)
        assert updated is not None
        assert [given.blinded for given in updated.feedback] == [counts]
        assert not updated.hidden
    again = store.add_feedback(hidden.id, "NORMAL", blinded=True)
    assert again is not None
    assert [(given.verdict, given.blinded) for given in again.feedback] == [("PNEUMONIA", True), ("NORMAL", False)]
    assert store.add_feedback(uuid.uuid4(), "NORMAL", blinded=True) is None


def test_identifiers_are_pseudonymized(store: PredictionStore, url: str) -> None:
    store.add(
        [
            PredictionEntry(answered(), patient="MRN-4711"),
            PredictionEntry(answered(file="other.png"), patient="MRN-4711"),
        ]
    )
    engine = raw(url)
    with engine.connect() as connection:
        files, patients = zip(
            *connection.execute(sql.text("SELECT file_pseudonym, patient_pseudonym FROM predictions")), strict=True
        )
        everything = str([connection.execute(table.select()).all() for table in metadata.sorted_tables])
    engine.dispose()
    assert set(patients) == {pseudonymize(KEY, "patient", "MRN-4711")}
    assert len(set(files)) == 2
    assert "4711" not in everything
    assert "DOE" not in everything


def test_threads_can_write_concurrently(store: PredictionStore) -> None:
    def write() -> None:
        for _ in range(20):
            store.add([PredictionEntry(answered())])

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.recent(1000)) == 160


def test_sqlite_can_be_read_during_a_write(tmp_path: Path) -> None:
    store = PredictionStore(f"sqlite:///{tmp_path / 'predictions.db'}", KEY)
    prediction = answered()
    store.add([PredictionEntry(prediction)])
    with sqlite3.connect(tmp_path / "predictions.db", isolation_level=None) as writer:
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM predictions")
        assert store.get(prediction.id) is not None
        writer.execute("ROLLBACK")
    writer.close()
    store.close()


class TestMigrations:
    def test_create_the_tables_of_the_code(self, store: PredictionStore, url: str) -> None:
        engine = raw(url)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        engine.dispose()

    def test_keep_the_rows_of_an_older_database(self, url: str) -> None:
        path = url.removeprefix("sqlite:///")
        if path != url:
            Path(path).parent.mkdir()
        old = answered()
        engine = raw(url)
        with engine.begin() as connection:
            migrate(connection, "0001")
            table = sql.Table("predictions", sql.MetaData(), autoload_with=connection)
            assert "hidden" not in table.c
            row = {
                "id": old.id if engine.dialect.name == "postgresql" else old.id.hex,
                "created": old.created,
                "file_pseudonym": "x",
                "bundle_sha256": MODEL.bundle_sha256,
                "embedding": None,
                "patient_pseudonym": None,
            }
            columns = {name: value for name, value in old.model_dump().items() if name in table.c}
            connection.execute(table.insert(), columns | row)
        engine.dispose()
        store = PredictionStore(url, KEY)
        assert store.get(old.id) == old.model_copy(update={"file": ""})
        assert store.add_feedback(old.id, "NORMAL", blinded=True) is not None
        store.close()

    def test_can_be_reverted(self, store: PredictionStore, url: str) -> None:
        store.add([PredictionEntry(answered())])
        engine = raw(url)
        with engine.begin() as connection:
            migrate(connection, "0001", back=True)
            assert "feedback" not in sql.inspect(connection).get_table_names()
            assert connection.execute(sql.text("SELECT count(*) FROM predictions")).scalar() == 1
        engine.dispose()

    def test_run_once_for_several_instances(self, url: str) -> None:
        failures: list[Exception] = []

        def start() -> None:
            try:
                PredictionStore(url, KEY).close()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    def test_of_a_later_release_are_an_error(self, store: PredictionStore, url: str) -> None:
        engine = raw(url)
        with engine.begin() as connection:
            connection.execute(sql.text("UPDATE alembic_version SET version_num = '9999'"))
        engine.dispose()
        with pytest.raises(ServiceError, match="later release"):
            PredictionStore(url, KEY)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("predictions.db", "is invalid"),
        ("sqlite:////proc/nowhere/predictions.db", "cannot be"),
        ("postgresql://postgres:hunter2@/postgres?host=/nowhere", "cannot be used"),
    ],
)
def test_error_names_the_database_without_its_password(url: str, message: str) -> None:
    with pytest.raises(ServiceError, match=message) as raised:
        PredictionStore(url, KEY)
    assert "hunter2" not in str(raised.value)


def migrate(connection: sql.Connection, revision: str, *, back: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    (command.downgrade if back else command.upgrade)(config, revision)
