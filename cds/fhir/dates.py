"""FHIR dates and times -> aware times; what is partial or without a zone is never completed."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from cds.domain.dates import PartialDate
from cds.fhir.shapes import mapping, text

if TYPE_CHECKING:
    from cds.fhir.shapes import Resource

_FRACTION = re.compile(r"(\.\d{6})\d+")


def moment(value: object) -> datetime | None:
    """Return a FHIR instant or full dateTime in UTC, or None.

    Examples
    --------
    >>> moment("2026-01-05T06:41:00+02:00").isoformat()
    '2026-01-05T04:41:00+00:00'
    >>> moment("2026-01-05"), moment("2026-01-05T06:41:00"), moment("soon")
    (None, None, None)

    """
    written = text(value)
    if written is None or "T" not in written:
        return None
    try:
        parsed = datetime.fromisoformat(_FRACTION.sub(r"\1", written))
    except ValueError:
        return None
    return parsed.astimezone(UTC) if parsed.tzinfo is not None else None


def day(value: object) -> date | None:
    """Return the calendar day of a FHIR date or dateTime, as written there, or None.

    Examples
    --------
    >>> day("2026-01-05T23:30:00-05:00"), day("2026-01")
    (datetime.date(2026, 1, 5), None)

    """
    partial = partial_date(value)
    if partial is None or partial.month is None or partial.day is None:
        return None
    return date(partial.year, partial.month, partial.day)


def partial_date(value: object) -> PartialDate | None:
    """Return a FHIR date with its own precision, or None.

    Examples
    --------
    >>> str(partial_date("1959-03"))
    '1959-03'

    """
    written = text(value)
    if written is None:
        return None
    try:
        return PartialDate.from_text(written.split("T")[0])
    except ValueError:
        return None


def effective_at(resource: Resource) -> datetime | None:
    """Return when an Observation or DiagnosticReport holds: its time, or its period's end."""
    period = mapping(resource.get("effectivePeriod"))
    candidates = (
        resource.get("effectiveDateTime"),
        resource.get("effectiveInstant"),
        period.get("end"),
        period.get("start"),
    )
    return next((at for at in map(moment, candidates) if at is not None), None)
