"""A clock that stands still until it is told to move."""

from datetime import datetime, timedelta


class FixedClock:
    """Implements `cds.ports.Clock`."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    def advance(self, by: timedelta) -> None:
        self._at += by
