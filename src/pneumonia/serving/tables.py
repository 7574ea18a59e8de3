"""Tables of the prediction database after the newest migration; a test compares them with the migrations."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
)

metadata = MetaData()

predictions = Table(
    "predictions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("status", String(16), nullable=False),
    Column("decision", String(16)),
    Column("probability", Float),
    Column("threshold", Float, nullable=False),
    Column("band", JSON, nullable=False),
    Column("familiarity", Float),
    Column("refusal", JSON),
    Column("warnings", JSON, nullable=False),
    Column("image", JSON),
    Column("model", JSON, nullable=False),
    Column("meaning", JSON),
    Column("hidden", Boolean, nullable=False),
    Column("bundle_sha256", String(64), nullable=False),
    Column("file_pseudonym", String(64), nullable=False),
    Column("patient_pseudonym", String(64)),
    Column("embedding", JSON),
    Index("predictions_created", "created"),
    Index("predictions_bundle_created", "bundle_sha256", "created"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("prediction_id", Uuid, ForeignKey("predictions.id"), nullable=False, index=True),
    Column("verdict", Text, nullable=False),
    Column("blinded", Boolean, nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
)
