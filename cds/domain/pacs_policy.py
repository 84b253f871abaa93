"""What a PACS administrator agreed to: how hard its PACS may be asked, and when not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(
    r"(?:(?P<days>[a-z]{3}(?:[,-][a-z]{3})*) )?(?P<starts>\d\d:\d\d)-(?P<ends>\d\d:\d\d)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """A stretch of the day, on some days of the week, in local time.

    Attributes
    ----------
    starts, ends
        Local times; an end that is not after the start lies on the next day, so that a window with
        both equal lasts 24 hours.
    weekdays
        0 is Monday; those on which the window starts.

    """

    starts: time
    ends: time
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)

    def __post_init__(self) -> None:
        if not self.weekdays or not set(self.weekdays) <= set(range(7)):
            raise ValueError("a window starts on some day of the week")
        if self.starts.tzinfo is not None or self.ends.tzinfo is not None:
            raise ValueError("a window's times are local")

    @classmethod
    def from_text(cls, text: str) -> DailyWindow:
        """Read ``07:00-19:00``, ``mon-fri 07:00-19:00`` or ``sat,sun 00:00-00:00``.

        Raises
        ------
        ValueError
            If the text is none of them.

        Examples
        --------
        >>> DailyWindow.from_text("mon-fri 07:00-19:00").weekdays
        (0, 1, 2, 3, 4)
        >>> str(DailyWindow.from_text("sat 22:00-06:00"))
        'sat 22:00-06:00'

        """
        match = _WINDOW.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"a window is written like 'mon-fri 07:00-19:00', not {text!r}")
        starts, ends = time.fromisoformat(match["starts"]), time.fromisoformat(match["ends"])
        if match["days"] is None:
            return cls(starts, ends)
        days = [day for part in match["days"].lower().split(",") for day in _days(part)]
        return cls(starts, ends, tuple(sorted(set(days))))

    def ends_at(self, local: datetime) -> datetime | None:
        """Return when the window that holds this local moment ends, None if none holds it."""
        for day in (local.date(), local.date() - timedelta(days=1)):
            if day.weekday() not in self.weekdays:
                continue
            begins = datetime.combine(day, self.starts, local.tzinfo)
            last_day = day if self.ends > self.starts else day + timedelta(days=1)
            end = datetime.combine(last_day, self.ends, local.tzinfo)
            if begins <= local < end:
                return end
        return None

    def __str__(self) -> str:
        hours = f"{self.starts:%H:%M}-{self.ends:%H:%M}"
        if len(self.weekdays) == 7:
            return hours
        return f"{','.join(WEEKDAYS[day] for day in sorted(self.weekdays))} {hours}"


@dataclass(frozen=True, slots=True)
class PacsPolicy:
    """The load that one PACS has agreed to.

    Attributes
    ----------
    max_parallel
        Requests under way at once, of bulk and prompt work together.
    requests_per_s
        On average; also the smallest distance between two requests.
    megabytes_per_s
        Of answers, on average over a few answers; one object comes at the speed of the line.
    bulk_pauses
        Windows, as `DailyWindow.from_text` reads them, in which bulk work (the import) stands
        still; prompt work (a study that has just arrived, a clinician who waits) goes on. To import
        at night only, pause by day.
    time_zone
        IANA name of the zone of `bulk_pauses`; None means the EHR's.
    request_limit_s
        For one request, connecting and its whole answer.
    max_attempts
        Of one bulk request that fails for a reason that may pass; prompt work tries once.
    max_retry_after_s
        A longer `Retry-After` is answered by ending the work; it is resumed by the next run.
    breaker_failures
        So many failures in a row open the circuit breaker.
    probe_interval_s
        While it is open, one request in so many seconds asks whether the PACS is back.
    outage_patience_s
        So long bulk work waits for a PACS that is down before it ends.

    """

    # Whoever reads a policy from a file (pydantic) refuses a misspelt limit by this.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    max_parallel: int = 2
    requests_per_s: float = 5.0
    megabytes_per_s: float = 10.0
    bulk_pauses: tuple[str, ...] = ()
    time_zone: str | None = None
    request_limit_s: float = 60.0
    max_attempts: int = 3
    max_retry_after_s: float = 900.0
    breaker_failures: int = 5
    probe_interval_s: float = 60.0
    outage_patience_s: float = 900.0

    def __post_init__(self) -> None:
        at_least_one = (self.max_parallel, self.max_attempts, self.breaker_failures)
        positive = (self.requests_per_s, self.megabytes_per_s, self.request_limit_s)
        not_negative = (self.max_retry_after_s, self.probe_interval_s, self.outage_patience_s)
        if min(at_least_one) < 1 or min(positive) <= 0 or min(not_negative) < 0:
            raise ValueError("a limit of the PACS is out of its range")
        for text in self.bulk_pauses:
            DailyWindow.from_text(text)
        if self.time_zone is not None:
            _zone(self.time_zone)

    def bulk_resumes_at(self, moment: datetime, *, time_zone: str) -> datetime | None:
        """Return when bulk work may go on, None if it may now.

        Parameters
        ----------
        moment
            Aware.
        time_zone
            The EHR's, where the policy names none.

        """
        local = moment.astimezone(_zone(self.time_zone or time_zone))
        windows = map(DailyWindow.from_text, self.bulk_pauses)
        ends = [end for window in windows if (end := window.ends_at(local)) is not None]
        return max(ends).astimezone(moment.tzinfo) if ends else None


def _days(part: str) -> tuple[int, ...]:
    """Return the days of ``mon`` or ``fri-mon``."""
    first, _, last = part.partition("-")
    start, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
    return tuple((start + i) % 7 for i in range((end - start) % 7 + 1))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError as error:
        raise ValueError(f"{name!r} is no IANA time zone") from error
