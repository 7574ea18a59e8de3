"""The log of predictions, and what was found out about them later: a database of its own, SQLite or PostgreSQL.

It is written to while it is read: SQLite keeps readers and the writer apart (WAL), PostgreSQL anyway.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pandas as pd
import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from pneumonia import database
from pneumonia.errors import MonitoringError
from pneumonia.monitoring.record import COMPONENTS, Record

FOLDER = Path(".pneumonia")
FILE = "log.db"
TABLES_VERSION = 1
AT_ONCE = 50_000
"""Rows that are held as Python objects while a window is read."""

IDS_AT_ONCE = 10_000
"""SQLite takes some 32,000 parameters."""

Verdict = Literal["NORMAL", "PNEUMONIA", "UNSURE"]

metadata = sql.MetaData()

predictions = sql.Table(
    "predictions",
    metadata,
    sql.Column("id", sql.Uuid, primary_key=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False),
    sql.Column("source", sql.String(16), nullable=False),
    sql.Column("model", sql.Text, nullable=False),
    sql.Column("version", sql.Integer),
    sql.Column("bundle_sha256", sql.String(64), nullable=False),
    sql.Column("status", sql.String(16), nullable=False),
    sql.Column("refusal", sql.String(32)),
    sql.Column("decision", sql.String(16)),
    sql.Column("probability", sql.Double),
    sql.Column("threshold", sql.Double, nullable=False),
    sql.Column("familiarity", sql.Double),
    sql.Column("format", sql.String(8)),
    sql.Column("width", sql.Integer),
    sql.Column("height", sql.Integer),
    sql.Column("aspect", sql.Double),
    sql.Column("mode", sql.String(16)),
    sql.Column("jpeg_quality", sql.Integer),
    sql.Column("brightness", sql.Double),
    sql.Column("contrast", sql.Double),
    sql.Column("clipped_dark", sql.Double),
    sql.Column("clipped_bright", sql.Double),
    sql.Column("sharpness", sql.Double),
    sql.Column("maker", sql.String(32)),
    sql.Column("view", sql.String(16)),
    *(sql.Column(name, sql.Double) for name in COMPONENTS),
    sql.Column("latency_ms", sql.Double),
    sql.Index("predictions_bundle_time", "bundle_sha256", "time"),
    sql.Index("predictions_time", "time"),
)

labels = sql.Table(
    "labels",
    metadata,
    sql.Column("prediction_id", sql.Uuid, primary_key=True),
    sql.Column("source", sql.String(64), primary_key=True),
    sql.Column("time", sql.DateTime(timezone=True), primary_key=True),
    sql.Column("label", sql.String(16), nullable=False),
    sql.Column("blinded", sql.Boolean, nullable=False),
)

version = sql.Table("log_version", metadata, sql.Column("number", sql.Integer, primary_key=True))

DTYPES = {sql.Uuid: "str", sql.String: "str", sql.Text: "str", sql.Double: "float64", sql.Integer: "float64"}
"""Of a window's columns by their type in the table; missing numbers are NaN."""


@dataclass(frozen=True)
class Label:
    """What is known of an image by other means than the model.

    Attributes:
        prediction_id: of the prediction; the label may come before the prediction has been logged.
        source: where it comes from, such as reader or a register's name; never a person's name.
        time: when it was given, in UTC. The same prediction, source and time are one label.
        label: NORMAL, PNEUMONIA, or UNSURE.
        blinded: given before the model's answer was seen.
    """

    prediction_id: UUID
    source: str
    time: datetime
    label: Verdict
    blinded: bool


@dataclass(frozen=True)
class LoggedModel:
    """A model that the log knows: what it is, how many predictions it made, the first and the last time."""

    model: str
    version: int | None
    bundle_sha256: str
    predictions: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Window:
    """Which predictions are meant: of one model or all, since and until a time (UTC), or the last so many of them.

    Attributes:
        bundle_sha256: of the model; None for all models.
        since: the earliest time.
        until: times before it.
        last: at most so many, the newest.
    """

    bundle_sha256: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    last: int | None = None


def default_url(folder: Path = FOLDER) -> str:
    """Return the URL of the log in a state folder."""
    return f"sqlite:///{folder.resolve() / FILE}"


class Log:
    """The database; every method is one transaction and may be called from any thread."""

    def __init__(self, url: str) -> None:
        """Open a log; an empty database gets its tables.

        Raises:
            MonitoringError: it cannot be reached, is of a later release, or holds something else.
        """
        self._engine = database.open_engine(url, MonitoringError)
        try:
            with self._explained(), database.changing_tables(self._engine) as connection:
                _make_tables(connection)
        except BaseException:
            self.close()
            raise

    def add(self, records: Sequence[Record]) -> None:
        """Store predictions; those whose id is there already are left alone."""
        self._insert(predictions, [vars(record) | {"time": record.time.astimezone(UTC)} for record in records])

    def add_labels(self, given: Sequence[Label]) -> None:
        """Store labels; those that are there already are left alone."""
        self._insert(labels, [asdict(label) | {"time": label.time.astimezone(UTC)} for label in given])

    def window(self, window: Window, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return predictions, the oldest first.

        Args:
            window: which ones.
            columns: fields of `Record`; None for all of them.
        """
        names = columns or [field.name for field in fields(Record)]
        return self._frame(_chosen(window, [predictions.c[name] for name in names]))

    def labelled(self, window: Window, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the predictions of a window that have labels, the oldest first, a row per prediction.

        Of several labels the latest counts. To the columns of `window` come label, blinded, label_source, label_time.
        """
        names = columns or [field.name for field in fields(Record)]
        rank = sql.func.row_number().over(partition_by=labels.c.prediction_id, order_by=labels.c.time.desc())
        ranked = sql.select(labels, rank.label("rank")).subquery()
        found = [
            *(predictions.c[name] for name in names),
            ranked.c.label,
            ranked.c.blinded,
            ranked.c.source.label("label_source"),
            ranked.c.time.label("label_time"),
        ]
        joined = predictions.join(ranked, (ranked.c.prediction_id == predictions.c.id) & (ranked.c.rank == 1))
        return self._frame(_chosen(window, found, joined))

    def known(self, ids: Iterable[UUID]) -> set[UUID]:
        """Return those of the ids that predictions have."""
        return {row["id"] for row in self._of_ids([predictions.c.id], predictions.c.id, ids)}

    def labels_of(self, ids: Iterable[UUID]) -> list[Label]:
        """Return every label of some predictions."""
        rows = self._of_ids(labels.c, labels.c.prediction_id, ids)
        return [Label(**{**row, "time": _in_utc(row["time"])}) for row in rows]

    def models(self) -> list[LoggedModel]:
        """Return the models of the log, the one that answered last first."""
        what = (predictions.c.model, predictions.c.version, predictions.c.bundle_sha256)
        first, last = sql.func.min(predictions.c.time), sql.func.max(predictions.c.time)
        count = sql.func.count().label("predictions")
        query = sql.select(*what, count, first.label("first"), last.label("last")).group_by(*what)
        with self._explained(), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(last.desc())).mappings().all()
        return [LoggedModel(**{**row, "first": _in_utc(row["first"]), "last": _in_utc(row["last"])}) for row in rows]

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _of_ids(self, columns: Iterable[Any], key: Any, ids: Iterable[UUID]) -> list[Any]:
        wanted = list(ids)
        query = sql.select(*columns)
        found: list[Any] = []
        with self._explained(), self._engine.connect() as connection:
            for start in range(0, len(wanted), IDS_AT_ONCE):
                some = query.where(key.in_(wanted[start : start + IDS_AT_ONCE]))
                found += connection.execute(some).mappings().all()
        return found

    def _insert(self, table: sql.Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
            with self._explained(), self._engine.begin() as connection:
                connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)

    def _frame(self, query: sql.Select[Any]) -> pd.DataFrame:
        dtypes = {column.name: DTYPES.get(type(column.type), "object") for column in query.selected_columns}
        with self._explained(), self._engine.connect() as connection:
            rows = connection.execution_options(yield_per=AT_ONCE).execute(query)
            parts = [_typed(part, dtypes) for part in rows.partitions()] or [_typed([], dtypes)]
        return pd.concat(parts, ignore_index=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sql.exc.SQLAlchemyError as error:
            raise MonitoringError(
                f"the log {self._engine.url.render_as_string()} cannot be used ({error}). Check that it is there and "
                "may be written to, or name another (--log)."
            ) from None


def _make_tables(connection: Connection) -> None:
    known = set(sql.inspect(connection).get_table_names())
    if version.name not in known and known & {predictions.name, labels.name}:
        raise MonitoringError(
            f"the database {connection.engine.url.render_as_string()} holds other tables named {predictions.name} or "
            f"{labels.name}, perhaps those of `pneumonia serve`. The log needs a database of its own: name it (--log)."
        )
    metadata.create_all(connection)
    found = connection.execute(sql.select(version.c.number)).scalar()
    if found is None:
        connection.execute(sql.insert(version).values(number=TABLES_VERSION))
    elif found != TABLES_VERSION:
        raise MonitoringError(
            f"the log {connection.engine.url.render_as_string()} has tables of version {found}, expected "
            f"{TABLES_VERSION}: another release made it. Install that release, or name another log (--log)."
        )


def _chosen(window: Window, columns: Sequence[Any], source: Any = predictions) -> sql.Select[Any]:
    """Return a query for columns of a window, the oldest prediction first."""
    query = sql.select(*columns).select_from(source)
    if window.bundle_sha256:
        query = query.where(predictions.c.bundle_sha256 == window.bundle_sha256)
    if window.since:
        query = query.where(predictions.c.time >= window.since.astimezone(UTC))
    if window.until:
        query = query.where(predictions.c.time < window.until.astimezone(UTC))
    if window.last is None:
        return query.order_by(predictions.c.time)
    newest = query.add_columns(predictions.c.time.label("_order")).order_by(predictions.c.time.desc())
    cut = newest.limit(window.last).subquery()
    return sql.select(*(column for column in cut.c if column.name != "_order")).order_by(cut.c._order)


def _typed(rows: Sequence[Any], dtypes: dict[str, str]) -> pd.DataFrame:
    """Make typed columns of rows, so that no more than a part of a window is ever held as Python objects."""
    frame = pd.DataFrame.from_records([tuple(row) for row in rows], columns=list(dtypes))
    for name in ("id", "prediction_id"):
        if name in frame:
            frame[name] = frame[name].map(str)
    for name in ("time", "label_time"):
        if name in frame:
            frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame.astype({name: dtype for name, dtype in dtypes.items() if dtype != "object"})


def _in_utc(moment: datetime) -> datetime:
    """SQLite forgets the zone; what is stored is UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
