"""Times as a clinician of the EHR's own time zone reads them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# Fixed names: a card does not depend on the server's locale.
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def time_text(moment: datetime | None, *, now: datetime, time_zone: str) -> str:
    """Return ``06:41``, with the day where it is not today, with ``UTC`` where the zone is unknown.

    Parameters
    ----------
    moment
        Aware time, or None where the record gives none.
    now
        Aware time that decides what "today" is.
    time_zone
        IANA name of the EHR's time zone.

    Examples
    --------
    >>> now = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
    >>> time_text(datetime(2026, 11, 20, 5, 41, tzinfo=UTC), now=now, time_zone="Europe/Berlin")
    '06:41'
    >>> time_text(datetime(2026, 11, 19, 5, 41, tzinfo=UTC), now=now, time_zone="Europe/Berlin")
    '19 Nov 06:41'

    """
    if moment is None:
        return "of unknown time"
    zone, suffix = _zone(time_zone)
    local, today = moment.astimezone(zone), now.astimezone(zone).date()
    day = "" if local.date() == today else f"{local.day} {MONTHS[local.month - 1]} "
    return f"{day}{local:%H:%M}{suffix}"


def date_time_text(moment: datetime | None, *, time_zone: str) -> str:
    """Return ``20 Nov 2026 06:41 (Europe/Berlin)``.

    Examples
    --------
    >>> date_time_text(datetime(2026, 11, 20, 5, 41, tzinfo=UTC), time_zone="Europe/Berlin")
    '20 Nov 2026 06:41 (Europe/Berlin)'
    >>> date_time_text(None, time_zone="UTC")
    'time not recorded'

    """
    if moment is None:
        return "time not recorded"
    zone, suffix = _zone(time_zone)
    local = moment.astimezone(zone)
    name = "UTC" if suffix else time_zone
    return f"{local.day} {MONTHS[local.month - 1]} {local.year} {local:%H:%M} ({name})"


def _zone(time_zone: str) -> tuple[tzinfo, str]:
    """Return the zone, and what must be added to a time when it is not the EHR's own."""
    try:
        return ZoneInfo(time_zone), ""
    except (ZoneInfoNotFoundError, ValueError):
        return UTC, " UTC"
