"""What a database does when it cannot: locked, gone, full or too slow -> one sentence each."""

from __future__ import annotations

from typing import Any, NoReturn

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from cds.domain.errors import CdsError, Reason

GONE = "The database does not answer. Nothing was lost; try again when it is back."
BUSY = "The database is busy with another writer. Nothing was changed; try again."
FULL = "The database cannot grow: its disk is full. Nothing was changed; make room, then try again."
SLOW = "The database took too long. Nothing was changed; try again."
READ_ONLY = "The database accepts no changes at the moment (read-only). Nothing was changed."
CLOSED = (
    "The database cannot be opened; check PRECEDENT_DATABASE_URL and the rights on the state "
    "folder."
)
DAMAGED = "The database file is damaged; restore it from its backup."

# Source: PostgreSQL 15, appendix A "PostgreSQL Error Codes".
_SQLSTATES = {
    "40001": BUSY,  # serialization_failure
    "40P01": BUSY,  # deadlock_detected
    "55P03": BUSY,  # lock_not_available: lock_timeout
    "53100": FULL,  # disk_full
    "53300": GONE,  # too_many_connections
    "57014": SLOW,  # query_canceled: statement_timeout
    "57P01": GONE,  # admin_shutdown
    "57P02": GONE,  # crash_shutdown
    "57P03": GONE,  # cannot_connect_now
    "25006": READ_ONLY,  # read_only_sql_transaction
}
# Source: SQLite, "Result and Error Codes"; names as Python's sqlite3 gives them.
_SQLITE_CODES = {
    "SQLITE_BUSY": BUSY,
    "SQLITE_LOCKED": BUSY,
    "SQLITE_FULL": FULL,
    "SQLITE_IOERR_WRITE": FULL,
    "SQLITE_IOERR": GONE,
    "SQLITE_CANTOPEN": CLOSED,
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_CORRUPT": DAMAGED,
    "SQLITE_NOTADB": DAMAGED,
}


def name_faults(engine: Engine) -> None:
    """Raise the database's own troubles as `CdsError` STORAGE_UNAVAILABLE with a sentence.

    Programming and integrity errors stay what they are. The driver's text is never repeated: it
    may hold values.
    """
    event.listen(engine, "handle_error", _raise_named)


def storage_unavailable(sentence: str) -> CdsError:
    """Return the error for one of the sentences above."""
    return CdsError(Reason.STORAGE_UNAVAILABLE, sentence)


def sentence_for(error: BaseException | None, *, is_disconnect: bool = False) -> str | None:
    """Return the sentence for a driver's error, or None if it is no trouble of the database."""
    if error is None:
        return None
    if isinstance(error, PoolTimeoutError):
        return BUSY
    named = _SQLSTATES.get(getattr(error, "sqlstate", None) or "")
    code = getattr(error, "sqlite_errorname", None) or ""
    found = named or _SQLITE_CODES.get(code) or _SQLITE_CODES.get("_".join(code.split("_")[:2]))
    if found is not None:
        return found
    # psycopg gives no SQLSTATE where no server was reached
    never_reached = type(error).__module__.startswith("psycopg") and _is_connection_failure(error)
    return GONE if is_disconnect or never_reached else None


def _is_connection_failure(error: BaseException) -> bool:
    has_no_state = getattr(error, "sqlstate", None) is None
    return has_no_state and "OperationalError" in {kind.__name__ for kind in type(error).__mro__}


def _raise_named(context: ExceptionContext) -> None:
    if context.is_pre_ping:
        return  # a stale connection is replaced by a new one
    sentence = sentence_for(context.original_exception, is_disconnect=context.is_disconnect)
    if sentence is not None:
        _refuse(sentence)


def _refuse(sentence: str) -> NoReturn:
    raise storage_unavailable(sentence) from None


def postgresql_options() -> dict[str, Any]:
    """Return the connection settings that bound every wait on a PostgreSQL server."""
    return {
        "connect_timeout": 3,  # s
        "application_name": "precedent",
        "keepalives_idle": 30,  # s; a silent firewall is noticed
        "options": "-c statement_timeout=30000 -c lock_timeout=10000 "
        "-c idle_in_transaction_session_timeout=60000",  # ms
    }
