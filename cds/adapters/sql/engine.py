"""Opening the database, and bringing it to the newest migration."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import URL, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from cds.adapters.sql.faults import name_faults, postgresql_options
from cds.adapters.sql.library_triggers import ensure_triggers
from cds.domain.errors import CdsError, Reason

SQLITE_BUSY_TIMEOUT_MS = 15_000  # an import commits often; a reader never waits this long
MIGRATION_KEY = 0x4D494752  # "MIGR": the key of PostgreSQL's advisory lock
POOL_SIZE = 8  # per process: one for each thread of a web worker
POOL_OVERFLOW = 16  # and one for each analysis of the hooks' door
POOL_TIMEOUT_S = 5
POOL_RECYCLE_S = 1_800
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(database_url: str) -> Engine:
    """Return an engine for the installation's database; nothing is connected yet.

    SQLite gets write-ahead logging, foreign keys and a busy timeout on each connection, and a file
    that only its owner can read. On PostgreSQL every wait is bounded. Connections are not carried
    into a forked worker. A database that is locked, gone or full is named by a `CdsError`
    STORAGE_UNAVAILABLE, wherever it is used.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the URL is none, or its driver is not installed.

    """
    try:
        url = make_url(database_url)
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True, **_pool(url))
    except (ArgumentError, ImportError, SQLAlchemyError):
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "PRECEDENT_DATABASE_URL is no usable SQLAlchemy URL, or its driver is not installed.",
        ) from None
    if url.get_backend_name() == "sqlite":
        if url.database and url.database != ":memory:":
            _prepare_file(Path(url.database))
        event.listen(engine, "connect", _set_pragmas)
    name_faults(engine)
    os.register_at_fork(after_in_child=_forgetter(engine))
    return engine


def limit_waits(engine: Engine, wait_ms: int) -> None:
    """Let no later connection of this process wait longer for another writer.

    A door that answers within a deadline says that the database is busy rather than nothing.
    """

    def set_wait(connection: Any, _record: object) -> None:  # noqa: ANN401  # the driver's connection
        is_sqlite = engine.dialect.name == "sqlite"
        name = "PRAGMA busy_timeout" if is_sqlite else "SET lock_timeout"
        cursor = connection.cursor()
        cursor.execute(f"{name} = {wait_ms}")
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", set_wait)


def upgrade_to_head(engine: Engine) -> None:
    """Run the migrations that this database has not had.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the database cannot be written or is newer than this software;
        STORAGE_UNAVAILABLE if it does not answer.

    """
    configuration = _configuration()
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":  # a migration may take its time
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                # Several machines may start at once: the second finds everything done.
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_KEY)))
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
            ensure_triggers(connection)
    except OperationalError:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "The database cannot be opened or written; check PRECEDENT_DATABASE_URL and the "
            "rights on the state folder.",
        ) from None
    except CommandError:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "The database was made by a newer version of this software; update the software.",
        ) from None


def is_at_head(engine: Engine) -> bool:
    """Tell whether the database has had every migration that this software knows."""
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found == ScriptDirectory.from_config(_configuration()).get_current_head()


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    return configuration


def _pool(url: URL) -> dict[str, Any]:
    """Return how many connections, how long they live and how long anything may wait for one."""
    if url.get_backend_name() != "postgresql":
        return {}
    return {
        "connect_args": postgresql_options() if url.get_driver_name() == "psycopg" else {},
        "pool_size": POOL_SIZE,
        "max_overflow": POOL_OVERFLOW,
        "pool_timeout": POOL_TIMEOUT_S,
        "pool_recycle": POOL_RECYCLE_S,
    }


def _prepare_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600, exist_ok=True)  # SQLite's -wal and -shm files inherit the mode


def _set_pragmas(connection: Any, _record: object) -> None:  # noqa: ANN401  # the driver's connection
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _forgetter(engine: Engine) -> Callable[[], None]:
    reference = weakref.ref(engine)

    def forget() -> None:
        held = reference()
        if held is not None:
            held.dispose(close=False)

    return forget
