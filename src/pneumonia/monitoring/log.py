"""Prediction log: predictions and the labels that arrive later, in a SQLite or PostgreSQL database of its own.

Reading and writing at the same time is safe: SQLite runs in WAL mode.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import UUID

import sqlalchemy as sql
from pydantic import AwareDatetime
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from pneumonia.core import database
from pneumonia.core.errors import MonitoringError
from pneumonia.core.model import FrozenModel
from pneumonia.monitoring.record import COMPONENTS, PredictionRecord

if TYPE_CHECKING:  # pandas takes 0.3 s to import, and writers of the log do not need it
    import pandas as pd

FOLDER = Path(".pneumonia")
FILE = "log.db"
TABLES_VERSION = 1
READ_BATCH = 50_000
"""Rows that are held as Python objects while a window is read."""
ID_BATCH = 10_000
"""Identifiers in one query; SQLite allows about 32,000 parameters."""

LabelValue = Literal["NORMAL", "PNEUMONIA", "UNSURE"]

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
"""pandas types of a window's columns by their type in the table; missing numbers are NaN."""


@dataclass(frozen=True)
class Label:
    """The class of an image according to a reader, a register or a laboratory.

    Attributes:
        prediction_id: identifier of the prediction, which may be logged after the label.
        source: origin of the label, such as reader or the name of a register; never a person's name.
        time: time of the label, UTC. Prediction, source and time identify a label.
        label: NORMAL, PNEUMONIA or UNSURE.
        blinded: whether the label was given without seeing the model's answer.
    """

    prediction_id: UUID
    source: str
    time: datetime
    label: LabelValue
    blinded: bool


class LoggedModel(FrozenModel):
    """A model with predictions in the log.

    Attributes:
        model: name of the model in params.yaml.
        version: version in the registry; None for a bundle that is not from the registry.
        bundle_sha256: hash of the bundle.
        predictions: number of predictions.
        first: time of the first prediction.
        last: time of the last prediction.
    """

    model: str
    version: int | None
    bundle_sha256: str
    predictions: int
    first: AwareDatetime
    last: AwareDatetime


@dataclass(frozen=True)
class Window:
    """A selection of predictions.

    Attributes:
        bundle_sha256: hash of the model's bundle; None selects all models.
        since: earliest time, included.
        until: latest time, excluded.
        last: largest number of predictions; the most recent ones are selected.
    """

    bundle_sha256: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    last: int | None = None


def default_url(folder: Path = FOLDER) -> str:
    """Return the SQLAlchemy URL of the log in a state folder."""
    return f"sqlite:///{folder.resolve() / FILE}"


class Log:
    """The prediction log. Each method is one transaction, and is thread-safe."""

    def __init__(self, url: str) -> None:
        """Open a log, and create its tables in an empty database.

        Args:
            url: SQLAlchemy URL.

        Raises:
            MonitoringError: the database cannot be opened, or holds tables of another version or application.
        """
        self._engine = database.open_engine(url, MonitoringError)
        try:
            with self._translated_errors(), database.lock_schema(self._engine) as connection:
                _make_tables(connection)
        except BaseException:
            self.close()
            raise

    def add(self, records: Sequence[PredictionRecord]) -> None:
        """Add predictions; those whose identifier is in the log already are ignored."""
        self._insert(predictions, [vars(record) | {"time": record.time.astimezone(UTC)} for record in records])

    def add_labels(self, added: Sequence[Label]) -> None:
        """Add labels; those that are in the log already are ignored."""
        self._insert(labels, [asdict(label) | {"time": label.time.astimezone(UTC)} for label in added])

    def window(self, window: Window, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """Return predictions, the oldest first.

        Args:
            window: the selection.
            columns: fields of `PredictionRecord`; None returns all of them.
        """
        names = columns or [field.name for field in fields(PredictionRecord)]
        return self._frame(_query(window, [predictions.c[name] for name in names]))

    def labelled(self, window: Window, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """Return the predictions of a window that have labels, the oldest first, one row per prediction.

        If a prediction has several labels, the latest one is returned. The columns are those of `window`, and
        ``label``, ``blinded``, ``label_source`` and ``label_time``.
        """
        names = columns or [field.name for field in fields(PredictionRecord)]
        rank = sql.func.row_number().over(partition_by=labels.c.prediction_id, order_by=labels.c.time.desc())
        ranked = sql.select(labels, rank.label("rank")).subquery()
        selected = [
            *(predictions.c[name] for name in names),
            ranked.c.label,
            ranked.c.blinded,
            ranked.c.source.label("label_source"),
            ranked.c.time.label("label_time"),
        ]
        joined = predictions.join(ranked, (ranked.c.prediction_id == predictions.c.id) & (ranked.c.rank == 1))
        return self._frame(_query(window, selected, joined))

    def existing_ids(self, ids: Iterable[UUID]) -> set[UUID]:
        """Return the identifiers that belong to a prediction in the log."""
        return {row["id"] for row in self._select_by_id([predictions.c.id], predictions.c.id, ids)}

    def labels_of(self, ids: Iterable[UUID]) -> list[Label]:
        """Return all labels of predictions."""
        rows = self._select_by_id(labels.c, labels.c.prediction_id, ids)
        return [Label(**{**row, "time": _in_utc(row["time"])}) for row in rows]

    def models(self) -> list[LoggedModel]:
        """Return the models in the log, the most recent one first."""
        model = (predictions.c.model, predictions.c.version, predictions.c.bundle_sha256)
        first, last = sql.func.min(predictions.c.time), sql.func.max(predictions.c.time)
        count = sql.func.count().label("predictions")
        query = sql.select(*model, count, first.label("first"), last.label("last")).group_by(*model)
        with self._translated_errors(), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(last.desc())).mappings().all()
        return [LoggedModel(**{**row, "first": _in_utc(row["first"]), "last": _in_utc(row["last"])}) for row in rows]

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        """Return the log itself; leaving the context closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self.close()

    def _select_by_id(self, columns: Iterable[Any], key: Any, ids: Iterable[UUID]) -> list[Any]:
        query = sql.select(*columns)
        rows: list[Any] = []
        with self._translated_errors(), self._engine.connect() as connection:
            remaining = iter(ids)
            while batch := list(islice(remaining, ID_BATCH)):
                rows += connection.execute(query.where(key.in_(batch))).mappings().all()
        return rows

    def _insert(self, table: sql.Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
            with self._translated_errors(), self._engine.begin() as connection:
                connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)

    def _frame(self, query: sql.Select[Any]) -> "pd.DataFrame":
        import pandas as pd

        dtypes = {column.name: DTYPES.get(type(column.type), "object") for column in query.selected_columns}
        with self._translated_errors(), self._engine.connect() as connection:
            rows = connection.execution_options(yield_per=READ_BATCH).execute(query)
            parts = [_typed(part, dtypes) for part in rows.partitions()] or [_typed([], dtypes)]
        return pd.concat(parts, ignore_index=True)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except sql.exc.SQLAlchemyError as error:
            raise MonitoringError(
                f"the prediction log {self._engine.url.render_as_string()} cannot be used ({error}). Check that it "
                "exists and is writable, or name another one (--log)."
            ) from None


def _make_tables(connection: Connection) -> None:
    existing = set(sql.inspect(connection).get_table_names())
    if version.name not in existing and existing & {predictions.name, labels.name}:
        raise MonitoringError(
            f"the database {connection.engine.url.render_as_string()} holds other tables named {predictions.name} or "
            f"{labels.name}, perhaps those of `pneumonia serve`. The prediction log needs a database of its own: name "
            "it (--log)."
        )
    metadata.create_all(connection)
    number = connection.execute(sql.select(version.c.number)).scalar()
    if number is None:
        connection.execute(sql.insert(version).values(number=TABLES_VERSION))
    elif number != TABLES_VERSION:
        raise MonitoringError(
            f"the prediction log {connection.engine.url.render_as_string()} has tables of version {number}, expected "
            f"{TABLES_VERSION}: another release made it. Install that release, or name another log (--log)."
        )


def _query(window: Window, columns: Sequence[Any], source: Any = predictions) -> sql.Select[Any]:
    """Return the query for columns of a window, the oldest prediction first."""
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


def _typed(rows: Sequence[Any], dtypes: dict[str, str]) -> "pd.DataFrame":
    """Return rows as typed columns; called per batch, so that few rows are held as Python objects at once."""
    import pandas as pd

    frame = pd.DataFrame.from_records([tuple(row) for row in rows], columns=list(dtypes))
    for name in ("id", "prediction_id"):
        if name in frame:
            frame[name] = frame[name].map(str)
    for name in ("time", "label_time"):
        if name in frame:
            frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame.astype({name: dtype for name, dtype in dtypes.items() if dtype != "object"})


def _in_utc(moment: datetime) -> datetime:
    """Return a stored time with its zone; SQLite drops it, and all stored times are UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
