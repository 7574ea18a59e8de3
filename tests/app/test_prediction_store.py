"""The database: real SQLite files, and a real PostgreSQL server where one is installed."""

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

from pneumonia.app import secret
from pneumonia.app.schemas import Band, ImageFacts, Meaning, ModelFacts, Prediction, Refusal
from pneumonia.app.store import MIGRATIONS, Entry, Store
from pneumonia.app.tables import metadata
from pneumonia.errors import ServiceError

KEY = b"k" * 32
MODEL = ModelFacts(
    name="bright", version=3, origin="version 3", bundle_sha256="ab" * 32, data="kermany", is_phantom=False
)


def answered(**changes: Any) -> Prediction:
    told = {
        "id": uuid.uuid4(),
        "created": datetime(2026, 1, 2, 3, 4, 5, 678, UTC),
        "file": "DOE_JANE.png",
        "status": "answered",
        "decision": "NORMAL",
        "probability": 0.25,
        "threshold": 0.5,
        "band": Band(low=0.4, high=0.6),
        "familiarity": 0.75,
        "refusal": None,
        "warnings": ["less familiar"],
        "image": ImageFacts(format="DICOM", width=1500, height=1100, view="AP"),
        "model": MODEL,
        "meaning": Meaning(share=0.1, low=None, high=0.2, images=40),
        "feedback": [],
    }
    return Prediction.model_validate(told | changes)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url, KEY)
    yield opened
    opened.close()


def raw(url: str) -> sql.Engine:
    address = url.replace("postgresql://", "postgresql+psycopg://")
    return sql.create_engine(address, poolclass=sql.NullPool)  # so that no connection is left open


def test_what_was_stored_comes_back_but_for_the_name_of_the_file(store: Store) -> None:
    shown, hidden = answered(), answered(hidden=True)
    store.add([Entry(shown, "patient", (0.5, -1.5)), Entry(hidden)])
    assert store.get(shown.id) == shown.model_copy(update={"file": ""})
    assert store.get(hidden.id) == hidden.model_copy(update={"file": ""})
    assert store.get(uuid.uuid4()) is None


def test_why_a_file_is_unreadable_is_not_stored_and_why_it_is_refused_is(store: Store) -> None:
    nothing: dict[str, Any] = {"decision": None, "probability": None, "meaning": None}
    quoting = Refusal(code="unreadable", reason="invalid value 'DOE^JANE'")
    unreadable = answered(status="unreadable", refusal=quoting, image=None, **nothing)
    refused = answered(status="refused", refusal=Refusal(code="adult", reason="too old"), **nothing)
    store.add([Entry(unreadable), Entry(refused)])
    kept, told = store.get(unreadable.id), store.get(refused.id)
    assert kept is not None
    assert kept.refusal is not None
    assert kept.refusal.code == "unreadable"
    assert "DOE" not in kept.refusal.reason
    assert told is not None
    assert told.refusal == refused.refusal


def test_recent_ones_come_newest_first_with_their_feedback(store: Store) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    entries = [Entry(answered(created=start + timedelta(minutes=minute))) for minute in (2, 0, 1)]
    store.add(entries)
    store.add_feedback(entries[2].prediction.id, "UNSURE", blinded=False)
    found = store.recent(2)
    assert [prediction.created.minute for prediction in found] == [2, 1]
    assert [len(prediction.feedback) for prediction in found] == [0, 1]


def test_a_verdict_is_blinded_only_while_the_answer_is_withheld(store: Store) -> None:
    hidden, peeked, shown = answered(hidden=True), answered(hidden=True), answered()
    store.add([Entry(hidden), Entry(peeked), Entry(shown)])
    store.reveal(peeked.id)
    for prediction, counts in ((hidden, True), (peeked, False), (shown, False)):
        judged = store.add_feedback(prediction.id, "PNEUMONIA", blinded=True)
        assert judged is not None
        assert [given.blinded for given in judged.feedback] == [counts]
        assert not judged.hidden
    again = store.add_feedback(hidden.id, "NORMAL", blinded=True)
    assert again is not None
    assert [(given.verdict, given.blinded) for given in again.feedback] == [("PNEUMONIA", True), ("NORMAL", False)]
    assert store.add_feedback(uuid.uuid4(), "NORMAL", blinded=True) is None


def test_identifiers_become_keyed_hashes(store: Store, url: str) -> None:
    store.add([Entry(answered(), patient="MRN-4711"), Entry(answered(file="other.png"), patient="MRN-4711")])
    engine = raw(url)
    with engine.connect() as connection:
        files, patients = zip(
            *connection.execute(sql.text("SELECT file_pseudonym, patient_pseudonym FROM predictions")), strict=True
        )
        everything = str([connection.execute(table.select()).all() for table in metadata.sorted_tables])
    engine.dispose()
    assert set(patients) == {secret.pseudonym(KEY, "patient", "MRN-4711")}
    assert len(set(files)) == 2
    assert "4711" not in everything
    assert "DOE" not in everything


def test_many_threads_write_at_once(store: Store) -> None:
    def write() -> None:
        for _ in range(20):
            store.add([Entry(answered())])

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.recent(1000)) == 160


def test_sqlite_lets_readers_read_while_somebody_writes(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'predictions.db'}", KEY)
    prediction = answered()
    store.add([Entry(prediction)])
    with sqlite3.connect(tmp_path / "predictions.db", isolation_level=None) as writer:
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM predictions")
        assert store.get(prediction.id) is not None
        writer.execute("ROLLBACK")
    writer.close()
    store.close()


class TestMigrations:
    def test_lead_to_the_tables_that_the_code_expects(self, store: Store, url: str) -> None:
        engine = raw(url)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        engine.dispose()

    def test_of_an_older_database_keep_what_is_in_it(self, url: str) -> None:
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
            told = {name: value for name, value in old.model_dump().items() if name in table.c}
            connection.execute(table.insert(), told | row)
        engine.dispose()
        store = Store(url, KEY)
        assert store.get(old.id) == old.model_copy(update={"file": ""})
        assert store.add_feedback(old.id, "NORMAL", blinded=True) is not None
        store.close()

    def test_go_back_again(self, store: Store, url: str) -> None:
        store.add([Entry(answered())])
        engine = raw(url)
        with engine.begin() as connection:
            migrate(connection, "0001", back=True)
            assert "feedback" not in sql.inspect(connection).get_table_names()
            assert connection.execute(sql.text("SELECT count(*) FROM predictions")).scalar() == 1
        engine.dispose()

    def test_of_several_instances_at_once_are_made_once(self, url: str) -> None:
        failures: list[Exception] = []

        def start() -> None:
            try:
                Store(url, KEY).close()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    def test_of_a_later_release_are_not_touched(self, store: Store, url: str) -> None:
        engine = raw(url)
        with engine.begin() as connection:
            connection.execute(sql.text("UPDATE alembic_version SET version_num = '9999'"))
        engine.dispose()
        with pytest.raises(ServiceError, match="later release"):
            Store(url, KEY)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("predictions.db", "not understood"),
        ("sqlite:////proc/nowhere/predictions.db", "cannot be"),
        ("postgresql://postgres:hunter2@/postgres?host=/nowhere", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ServiceError, match=says) as raised:
        Store(url, KEY)
    assert "hunter2" not in str(raised.value)


def migrate(connection: sql.Connection, revision: str, *, back: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    (command.downgrade if back else command.upgrade)(config, revision)
