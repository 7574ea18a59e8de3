"""Add readers' assessments, and the column of withheld predictions."""

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table of feedback; existing predictions were not withheld."""
    op.create_table(
        "feedback",
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("prediction_id", sql.Uuid, sql.ForeignKey("predictions.id"), nullable=False),
        sql.Column("verdict", sql.Text, nullable=False),
        sql.Column("blinded", sql.Boolean, nullable=False),
        sql.Column("created", sql.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_feedback_prediction_id", "feedback", ["prediction_id"])
    with op.batch_alter_table("predictions") as table:
        table.add_column(sql.Column("hidden", sql.Boolean, nullable=False, server_default=sql.false()))
    with op.batch_alter_table("predictions") as table:
        table.alter_column("hidden", server_default=None)


def downgrade() -> None:
    """Drop the table and the column."""
    with op.batch_alter_table("predictions") as table:
        table.drop_column("hidden")
    op.drop_table("feedback")
