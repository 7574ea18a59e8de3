"""Predictions, refusals and feedback in a database: SQLite by default, PostgreSQL by its URL.

What identifies a patient is stored as a pseudonym only (`secret.pseudonym`); file names too, for they often hold names
of patients. Nothing that a file says in its own words is stored, for a name can stand in any field: not a reason that
quotes it, and a view only if it is one that DICOM knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sql
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.engine import Connection, Engine

from pneumonia import database
from pneumonia.app import secret
from pneumonia.app.schemas import Feedback, ImageFacts, Prediction, Refusal
from pneumonia.app.tables import feedback, predictions
from pneumonia.errors import ServiceError
from pneumonia.monitoring.log import Verdict
from pneumonia.monitoring.record import VIEWS

MIGRATIONS = Path(__file__).parent / "migrations"
STORED_REASONS = {
    "unreadable": "The file could not be read; the reason was told to the sender and is not stored.",
    "not_frontal": "The file says that the view is not frontal (AP or PA).",
    "not_a_radiograph": "This is no upright frontal radiograph of the chest, or its file says so.",
}
"""Of the refusals whose reason may quote the file."""
NAMED_ALIKE = ("status", "decision", "probability", "threshold", "familiarity", "warnings", "hidden")


@dataclass(frozen=True)
class Entry:
    """A prediction, and what is kept beside it for monitoring alone.

    Attributes:
        prediction: as the API gives it; its file name is stored as a pseudonym.
        patient: DICOM patient identifier, stored as a pseudonym; None where the file has none.
        embedding: a few components of what the network saw.
    """

    prediction: Prediction
    patient: str | None = None
    embedding: tuple[float, ...] | None = None


class Store:
    """The database; every method is one transaction and may be called from any thread."""

    def __init__(self, url: str, key: bytes) -> None:
        """Open a database and bring its tables to the newest form.

        Raises:
            ServiceError: it cannot be reached, or a later release has changed it.
        """
        self._key = key
        self._engine = database.open_engine(url, ServiceError)
        try:
            _migrate(self._engine)
        except BaseException:
            self.close()
            raise

    def add(self, entries: Sequence[Entry]) -> None:
        """Store new predictions."""
        with self._engine.begin() as connection:
            connection.execute(sql.insert(predictions), [self._row(entry) for entry in entries])

    def get(self, prediction: UUID) -> Prediction | None:
        """Return a prediction with its feedback, None where there is none; its file name is empty."""
        found = self._select(sql.select(predictions).where(predictions.c.id == prediction))
        return found[0] if found else None

    def recent(self, limit: int) -> list[Prediction]:
        """Return the newest predictions, the newest first."""
        return self._select(sql.select(predictions).order_by(predictions.c.created.desc()).limit(limit))

    def reveal(self, prediction: UUID) -> None:
        """Note that a reader has seen the model's answer."""
        with self._engine.begin() as connection:
            _reveal(connection, prediction)

    def add_feedback(self, prediction: UUID, verdict: Verdict, *, blinded: bool) -> Prediction | None:
        """Store a reader's verdict and return the prediction with it, now revealed; None where there is none.

        A verdict counts as blinded only while the model's answer has been withheld.
        """
        with self._engine.begin() as connection:
            query = sql.select(predictions.c.hidden).where(predictions.c.id == prediction).with_for_update()
            hidden = connection.execute(query).scalar()
            if hidden is None:
                return None
            row = {
                "prediction_id": prediction,
                "verdict": verdict,
                "blinded": blinded and hidden,
                "created": datetime.now(UTC),
            }
            connection.execute(sql.insert(feedback), row)
            _reveal(connection, prediction)
        return self.get(prediction)

    def check(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: it gives none.
        """
        with self._engine.connect() as connection:
            connection.execute(sql.text("SELECT 1"))

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _row(self, entry: Entry) -> dict[str, Any]:
        said = entry.prediction
        return {name: getattr(said, name) for name in NAMED_ALIKE} | {
            "id": said.id,
            "created": said.created,
            "band": said.band.model_dump(),
            "refusal": said.refusal and _without_quotes(said.refusal).model_dump(),
            "image": said.image and _known_view(said.image).model_dump(),
            "model": said.model.model_dump(),
            "meaning": said.meaning and said.meaning.model_dump(),
            "bundle_sha256": said.model.bundle_sha256,
            "file_pseudonym": secret.pseudonym(self._key, "file", said.file),
            "patient_pseudonym": entry.patient and secret.pseudonym(self._key, "patient", entry.patient),
            "embedding": entry.embedding and list(entry.embedding),
        }

    def _select(self, query: sql.Select[Any]) -> list[Prediction]:
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
            given: dict[UUID, list[Feedback]] = {row["id"]: [] for row in rows}
            of_these = sql.select(feedback).where(feedback.c.prediction_id.in_(given)).order_by(feedback.c.id)
            for row in connection.execute(of_these).mappings():
                given[row["prediction_id"]].append(
                    Feedback(verdict=row["verdict"], blinded=row["blinded"], created=_in_utc(row["created"]))
                )
        return [
            Prediction.model_validate(
                dict(row) | {"file": "", "created": _in_utc(row["created"]), "feedback": given[row["id"]]}
            )
            for row in rows
        ]


def _without_quotes(refusal: Refusal) -> Refusal:
    return Refusal(code=refusal.code, reason=STORED_REASONS.get(refusal.code, refusal.reason))


def _known_view(image: ImageFacts) -> ImageFacts:
    return image if image.view in VIEWS else image.model_copy(update={"view": None})


def _reveal(connection: Connection, prediction: UUID) -> None:
    connection.execute(sql.update(predictions).where(predictions.c.id == prediction).values(hidden=False))


def _in_utc(moment: datetime) -> datetime:
    """SQLite forgets the zone; what is stored is UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with database.changing_tables(engine) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise ServiceError(
            f"the database {engine.url.render_as_string()} is of a later release of this service ({error}). "
            "Install that release, or name another database (--database)."
        ) from None
    except sql.exc.SQLAlchemyError as error:
        raise ServiceError(
            f"the database {engine.url.render_as_string()} cannot be used ({error}). Check that it is there and may "
            "be written to, or name another (--database)."
        ) from None
