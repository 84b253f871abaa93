"""Column types that behave alike on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, String, inspect
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from cds.domain.dates import aware
from cds.domain.errors import CdsError, Reason


def check_texts(rows: Iterable[DeclarativeBase]) -> None:
    """Refuse rows that PostgreSQL would refuse, on SQLite too, which keeps any text.

    Raises
    ------
    CdsError
        INVALID_REQUEST naming the column, never its content.

    """
    for row in rows:
        for column in inspect(type(row)).columns:
            value = getattr(row, column.key)
            length = column.type.length if isinstance(column.type, String) else None
            if not isinstance(value, str):
                continue
            if length is not None and len(value) > length:
                raise CdsError(
                    Reason.INVALID_REQUEST, f"{column.key} is longer than {length} characters"
                )
            if "\x00" in value:
                raise CdsError(Reason.INVALID_REQUEST, f"{column.key} holds a NUL character")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; refuses one without a zone, and always comes back with one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        return None if value is None else aware(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment with its zone (SQLite keeps none)."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
