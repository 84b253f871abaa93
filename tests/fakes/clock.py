"""A clock that stands still, at an instant whose local day differs from the UTC day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

FROZEN_AT = datetime(2026, 1, 5, 23, 30, tzinfo=timezone(timedelta(hours=-5)))


class FixedClock:
    """A `cds.ports.Clock`."""

    def __init__(self, at: datetime = FROZEN_AT) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at.astimezone(UTC)

    def advance(self, by: timedelta) -> None:
        self.at += by
