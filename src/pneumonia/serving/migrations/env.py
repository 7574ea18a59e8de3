"""Run migrations on the connection that `prediction_store` passes."""

from alembic import context

from pneumonia.serving.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
