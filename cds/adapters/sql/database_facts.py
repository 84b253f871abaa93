"""What a database is and how it stands, for the check of an installation; it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cds.adapters.sql.engine import is_at_head, open_database
from cds.domain.errors import CdsError, Reason

SQLITE = "sqlite"


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What was found.

    Attributes
    ----------
    journal_mode
        Of SQLite, ``wal`` where it is as it should be; None elsewhere.

    """

    backend: str
    version: str
    is_at_head: bool
    journal_mode: str | None = None


def database_facts(database_url: str) -> DatabaseFacts:
    """Connect, ask and disconnect; a missing SQLite file is not made.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if there is no database, or it does not answer.

    """
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise CdsError(
            Reason.INVALID_CONFIGURATION, "PRECEDENT_DATABASE_URL is no SQLAlchemy URL."
        ) from None
    is_sqlite = url.get_backend_name() == SQLITE
    if is_sqlite and url.database and not Path(url.database).is_file():
        raise CdsError(Reason.INVALID_CONFIGURATION, "There is no database file yet.")
    engine = open_database(database_url)
    try:
        with engine.connect() as connection:
            version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
            journal = connection.scalar(text("PRAGMA journal_mode")) if is_sqlite else None
        return DatabaseFacts(url.get_backend_name(), version, is_at_head(engine), journal)
    except SQLAlchemyError as error:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            f"The database does not answer ({type(error).__name__}).",
        ) from None
    finally:
        engine.dispose()
