"""Create the table of predictions."""

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table of predictions."""
    op.create_table(
        "predictions",
        sql.Column("id", sql.Uuid, primary_key=True),
        sql.Column("created", sql.DateTime(timezone=True), nullable=False),
        sql.Column("status", sql.String(16), nullable=False),
        sql.Column("decision", sql.String(16)),
        sql.Column("probability", sql.Float),
        sql.Column("threshold", sql.Float, nullable=False),
        sql.Column("band", sql.JSON, nullable=False),
        sql.Column("familiarity", sql.Float),
        sql.Column("refusal", sql.JSON),
        sql.Column("warnings", sql.JSON, nullable=False),
        sql.Column("image", sql.JSON),
        sql.Column("model", sql.JSON, nullable=False),
        sql.Column("meaning", sql.JSON),
        sql.Column("bundle_sha256", sql.String(64), nullable=False),
        sql.Column("file_pseudonym", sql.String(64), nullable=False),
        sql.Column("patient_pseudonym", sql.String(64)),
        sql.Column("embedding", sql.JSON),
    )
    op.create_index("predictions_created", "predictions", ["created"])
    op.create_index("predictions_bundle_created", "predictions", ["bundle_sha256", "created"])


def downgrade() -> None:
    """Drop the table of predictions."""
    op.drop_table("predictions")
