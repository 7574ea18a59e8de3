"""A database by its SQLAlchemy URL: SQLite in a file, or PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection, Engine, make_url

from pneumonia.errors import PneumoniaError

CHANGE_LOCK = 0x706E6575
"""Any number that all instances agree on."""
BUSY_SECONDS = 30


def open_engine(url: str, refuse: type[PneumoniaError]) -> Engine:
    """Open a database; nothing is asked of it yet, and a SQLite file gets its folder.

    Raises:
        PneumoniaError: of the type ``refuse``, where the URL is not understood.
    """
    try:
        address = make_url(url)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        local = address.get_backend_name() == "sqlite"
        if local and address.database:
            with suppress(OSError):  # then it cannot be opened, and whoever uses it says so
                Path(address.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Parameters stay out of the messages of errors: these are logged.
        engine = sql.create_engine(
            address,
            hide_parameters=True,
            pool_pre_ping=not local,
            connect_args={"timeout": BUSY_SECONDS} if local else {},
        )
    except (sql.exc.SQLAlchemyError, ImportError) as error:
        raise refuse(
            f"the database URL is not understood ({error}). Expected sqlite:///FILE or postgresql://USER@HOST/NAME."
        ) from None
    if local:
        sql.event.listen(engine, "connect", _prepare_sqlite)
    return engine


@contextmanager
def changing_tables(engine: Engine) -> Iterator[Connection]:
    """Give a connection on which one process at a time may change the tables; several may start at once."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(CHANGE_LOCK)))
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Let readers and a writer work at once, and hold foreign keys."""
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
