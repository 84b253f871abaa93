"""Triggers that note every change of a case, whoever makes it: import, erasure or a person in SQL.

They are no part of a migration: a later migration that rebuilds a table on SQLite would lose them.
`upgrade_to_head` makes the missing ones after every upgrade instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, inspect, text


@dataclass(frozen=True, slots=True)
class _Watched:
    """One table and event; `case_id` is the SQL that names the case, null if it has none left."""

    table: str
    event: str
    case_id: str

    @property
    def name(self) -> str:
        return f"note_{self.table}_{self.event.lower()}"


def _of_picture(row: str) -> str:
    return f"(SELECT case_id FROM case_picture WHERE picture_id = {row}.picture_id)"  # noqa: S608  # a literal of this module


WATCHED = (
    _Watched("library_case", "UPDATE", "NEW.case_id"),
    _Watched("library_case", "DELETE", "OLD.case_id"),
    _Watched("case_picture", "UPDATE", "NEW.case_id"),
    _Watched("case_picture", "DELETE", "OLD.case_id"),
    _Watched("case_embedding", "INSERT", _of_picture("NEW")),
    _Watched("case_embedding", "UPDATE", _of_picture("NEW")),
    _Watched("case_embedding", "DELETE", _of_picture("OLD")),
)


def ensure_triggers(connection: Connection) -> None:
    """Make the triggers that are missing; nothing happens where the log does not exist."""
    if not inspect(connection).has_table("library_change"):
        return
    present = _present(connection)
    for watched in WATCHED:
        if watched.name not in present:
            for statement in _definition(connection, watched):
                connection.exec_driver_sql(statement)


def drop_triggers(connection: Connection) -> None:
    """Remove every trigger of ours."""
    for watched in WATCHED:
        where = f" ON {watched.table}" if _is_postgresql(connection) else ""
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {watched.name}{where}")
        if where:
            connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {watched.name}()")


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _present(connection: Connection) -> set[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    if _is_postgresql(connection):
        query = (
            "SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE NOT t.tgisinternal AND pg_table_is_visible(c.oid)"
        )
    return {str(name) for (name,) in connection.execute(text(query))}


def _definition(connection: Connection, watched: _Watched) -> tuple[str, ...]:
    return _on_postgresql(watched) if _is_postgresql(connection) else _on_sqlite(watched)


def _on_sqlite(watched: _Watched) -> tuple[str, ...]:
    return (
        f"CREATE TRIGGER {watched.name} AFTER {watched.event} ON {watched.table} "  # noqa: S608  # literals of this module
        f"WHEN {watched.case_id} IS NOT NULL BEGIN "
        "UPDATE library_state SET sequence = sequence + 1; "
        "INSERT INTO library_change (sequence, case_id) "
        f"SELECT sequence, {watched.case_id} FROM library_state; END",
    )


def _on_postgresql(watched: _Watched) -> tuple[str, ...]:
    """Return function and trigger.

    The trigger is deferred to the commit: the one counter row is locked last, so that no two
    transactions can wait for each other over it, and numbers are given in the order of the commits.
    """
    return (
        f"CREATE OR REPLACE FUNCTION {watched.name}() RETURNS trigger LANGUAGE plpgsql AS $$ "  # noqa: S608  # literals of this module
        "DECLARE changed text; number bigint; BEGIN "
        f"changed := {watched.case_id}; "
        "IF changed IS NOT NULL THEN "
        "UPDATE library_state SET sequence = sequence + 1 RETURNING sequence INTO number; "
        "INSERT INTO library_change (sequence, case_id) VALUES (number, changed); "
        "END IF; RETURN NULL; END $$",
        f"CREATE CONSTRAINT TRIGGER {watched.name} AFTER {watched.event} ON {watched.table} "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        f"EXECUTE FUNCTION {watched.name}()",
    )
