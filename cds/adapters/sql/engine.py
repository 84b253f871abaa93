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
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from cds.domain.errors import CdsError, Reason

SQLITE_BUSY_TIMEOUT_MS = 15_000  # an import commits per case; a reader never waits this long
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(database_url: str) -> Engine:
    """Return an engine for the installation's database; nothing is connected yet.

    SQLite gets write-ahead logging, foreign keys and a busy timeout on each connection, and a file
    that only its owner can read. Connections are not carried into a forked worker.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the URL is none, or its driver is not installed.

    """
    try:
        url = make_url(database_url)
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True)
    except (ArgumentError, ImportError, SQLAlchemyError):
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "PRECEDENT_DATABASE_URL is no usable SQLAlchemy URL, or its driver is not installed.",
        ) from None
    if url.get_backend_name() == "sqlite":
        if url.database and url.database != ":memory:":
            _prepare_file(Path(url.database))
        event.listen(engine, "connect", _set_pragmas)
    os.register_at_fork(after_in_child=_forgetter(engine))
    return engine


def upgrade_to_head(engine: Engine) -> None:
    """Run the migrations that this database has not had.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the database cannot be opened or is newer than this software.

    """
    configuration = _configuration()
    try:
        with engine.begin() as connection:
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
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
