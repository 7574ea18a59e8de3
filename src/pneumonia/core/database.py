"""Databases by SQLAlchemy URL: SQLite in a file, or PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection, Engine, make_url

from pneumonia.core.errors import PneumoniaError
from pneumonia.core.extras import report_missing_extras

SCHEMA_LOCK = 0x706E6575
"""Key of the PostgreSQL advisory lock; arbitrary, but the same in all processes."""
BUSY_SECONDS = 30
"""How long a SQLite connection waits for a lock."""


def open_engine(url: str, error_type: type[PneumoniaError]) -> Engine:
    """Return an engine without connecting yet; the folder of a SQLite file is created.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``.
        error_type: type of the error for an invalid URL.

    Raises:
        PneumoniaError: of the type ``error_type``, the URL is invalid.
        MissingExtraError: the driver of PostgreSQL is not installed.
    """
    try:
        address = make_url(url)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        local = address.get_backend_name() == "sqlite"
        if local and address.database:
            with suppress(OSError):  # the first connection then fails with a message
                Path(address.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Error messages are logged and must not contain the parameters of statements.
        with report_missing_extras():
            engine = sql.create_engine(
                address,
                hide_parameters=True,
                pool_pre_ping=not local,
                connect_args={"timeout": BUSY_SECONDS} if local else {},
            )
    except (sql.exc.SQLAlchemyError, ImportError) as error:
        raise error_type(
            f"the database URL is invalid ({error}). Expected sqlite:///FILE or postgresql://USER@HOST/NAME."
        ) from None
    if local:
        sql.event.listen(engine, "connect", _prepare_sqlite)
    return engine


@contextmanager
def lock_schema(engine: Engine) -> Iterator[Connection]:
    """Yield a connection for changes of the schema, in a transaction that one process at a time can hold."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Let readers work during a write (WAL), and enforce foreign keys."""
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
