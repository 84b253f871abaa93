"""How long a server asks to be left alone (RFC 9110 section 10.2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 24 * 3600.0  # a server that names a later time is asked again after a day


def retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds of ``Retry-After``; None if there is none or it cannot be read.

    Parameters
    ----------
    headers
        Of the answer. A date is read against the server's own ``Date`` where it sends one, so that
        a clock that is wrong on either side does not matter.
    now
        Aware; stands in for a missing ``Date``.

    Examples
    --------
    >>> now = datetime(2026, 1, 5, tzinfo=UTC)
    >>> retry_after_s({"Retry-After": "120"}, now=now)
    120.0
    >>> retry_after_s({"Retry-After": "Mon, 05 Jan 2026 00:00:30 GMT"}, now=now)
    30.0

    """
    written = headers.get("Retry-After", "").strip()
    if written.isascii() and written.isdigit():
        return min(float(written[:12]), LONGEST_S)
    until_at = _moment(written)
    if until_at is None:
        return None
    from_at = _moment(headers.get("Date", "")) or now
    return min(max((until_at - from_at).total_seconds(), 0.0), LONGEST_S)


def _moment(written: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(written)
    except (ValueError, TypeError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
