"""Prediction database: SQLite by default, PostgreSQL by its URL.

Patient identifiers and file names, which often contain patient names, are stored as pseudonyms only
(`serving.pseudonyms`). Free text of a file is not stored, because any field may contain a name: reasons that quote the
file are replaced, and a view is kept only if DICOM defines it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sql
from sqlalchemy.engine import Connection, Engine

from pneumonia.core import database
from pneumonia.core.errors import ServiceError
from pneumonia.monitoring.log import LabelValue
from pneumonia.monitoring.record import VIEWS
from pneumonia.serving.pseudonyms import pseudonymize
from pneumonia.serving.schemas import ImageInfo, Prediction, ReaderVerdict, RefusalReason
from pneumonia.serving.tables import feedback, predictions

MIGRATIONS = Path(__file__).parent / "migrations"
STORED_REASONS = {
    "unreadable": "The file could not be read. The details were sent to the client and are not stored.",
    "not_frontal": "The view in the DICOM header is not frontal (AP or PA).",
    "not_a_radiograph": "The image or its DICOM header is not that of an upright frontal chest radiograph.",
}
"""Replacements for reasons that may quote the file, by refusal code."""
SAME_COLUMNS = ("status", "decision", "probability", "threshold", "familiarity", "warnings", "hidden")


@dataclass(frozen=True)
class PredictionEntry:
    """A prediction with additional data for monitoring.

    Attributes:
        prediction: prediction as the API returns it; its file name is stored as a pseudonym.
        patient: DICOM patient identifier, stored as a pseudonym; None if the file has none.
        embedding: principal components of the pooled features.
    """

    prediction: Prediction
    patient: str | None = None
    embedding: tuple[float, ...] | None = None


class PredictionStore:
    """Prediction database; every method is one transaction and is safe to call from any thread."""

    def __init__(self, url: str, key: bytes) -> None:
        """Open a database and migrate it to the current schema.

        Args:
            url: SQLAlchemy URL.
            key: secret key of the pseudonyms.

        Raises:
            ServiceError: the database cannot be reached, or has the schema of a later release.
        """
        self._key = key
        self._engine = database.open_engine(url, ServiceError)
        try:
            _migrate(self._engine)
        except BaseException:
            self.close()
            raise

    def add(self, entries: Sequence[PredictionEntry]) -> None:
        """Store new predictions."""
        with self._engine.begin() as connection:
            connection.execute(sql.insert(predictions), [self._row(entry) for entry in entries])

    def get(self, prediction: UUID) -> Prediction | None:
        """Return a prediction with its feedback and without its file name; None if the id is unknown."""
        selected = self._select(sql.select(predictions).where(predictions.c.id == prediction))
        return selected[0] if selected else None

    def recent(self, limit: int) -> list[Prediction]:
        """Return the most recent predictions, newest first."""
        return self._select(sql.select(predictions).order_by(predictions.c.created.desc()).limit(limit))

    def reveal(self, prediction: UUID) -> None:
        """Record that the reader has seen the model's result."""
        with self._engine.begin() as connection:
            _reveal(connection, prediction)

    def add_feedback(self, prediction: UUID, verdict: LabelValue, *, blinded: bool) -> Prediction | None:
        """Store a reader's assessment and reveal the prediction.

        Args:
            prediction: id of the prediction.
            verdict: the reader's assessment.
            blinded: whether it was given before the result was shown; ignored if the result has been revealed.

        Returns:
            The prediction with the assessment; None if the id is unknown.
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
        """Check that the database responds.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: it does not.
        """
        with self._engine.connect() as connection:
            connection.execute(sql.text("SELECT 1"))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _row(self, entry: PredictionEntry) -> dict[str, Any]:
        prediction = entry.prediction
        return {name: getattr(prediction, name) for name in SAME_COLUMNS} | {
            "id": prediction.id,
            "created": prediction.created,
            "band": prediction.band.model_dump(),
            "refusal": prediction.refusal and _without_quotes(prediction.refusal).model_dump(),
            "image": prediction.image and _with_standard_view(prediction.image).model_dump(),
            "model": prediction.model.model_dump(),
            "meaning": prediction.meaning and prediction.meaning.model_dump(),
            "bundle_sha256": prediction.model.bundle_sha256,
            "file_pseudonym": pseudonymize(self._key, "file", prediction.file),
            "patient_pseudonym": entry.patient and pseudonymize(self._key, "patient", entry.patient),
            "embedding": entry.embedding and list(entry.embedding),
        }

    def _select(self, query: sql.Select[Any]) -> list[Prediction]:
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
            verdicts: dict[UUID, list[ReaderVerdict]] = {row["id"]: [] for row in rows}
            of_these = sql.select(feedback).where(feedback.c.prediction_id.in_(verdicts)).order_by(feedback.c.id)
            for row in connection.execute(of_these).mappings():
                verdicts[row["prediction_id"]].append(
                    ReaderVerdict(verdict=row["verdict"], blinded=row["blinded"], created=_in_utc(row["created"]))
                )
        return [_prediction(row, verdicts[row["id"]]) for row in rows]


def _prediction(row: sql.RowMapping, verdicts: list[ReaderVerdict]) -> Prediction:
    stored = {name: row[name] for name in Prediction.model_fields if name in row}
    return Prediction.model_validate(stored | {"file": "", "created": _in_utc(row["created"]), "feedback": verdicts})


def _without_quotes(refusal: RefusalReason) -> RefusalReason:
    return RefusalReason(code=refusal.code, reason=STORED_REASONS.get(refusal.code, refusal.reason))


def _with_standard_view(image: ImageInfo) -> ImageInfo:
    return image if image.view in VIEWS else image.model_copy(update={"view": None})


def _reveal(connection: Connection, prediction: UUID) -> None:
    connection.execute(sql.update(predictions).where(predictions.c.id == prediction).values(hidden=False))


def _in_utc(moment: datetime) -> datetime:
    """Add the time zone UTC, which SQLite does not store."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _migrate(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with database.lock_schema(engine) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise ServiceError(
            f"the database {engine.url.render_as_string()} has the schema of a later release ({error}). Install that "
            "release, or use another database (--database)."
        ) from None
    except sql.exc.SQLAlchemyError as error:
        raise ServiceError(
            f"the database {engine.url.render_as_string()} cannot be used ({error}). Check that it exists and is "
            "writable, or use another one (--database)."
        ) from None
