"""Clocks that only sleeping moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cds.adapters.pacs_gate import Pace

STARTED_AT = datetime(2026, 1, 5, 23, 30, tzinfo=UTC)


class FakeTime:
    """Wall clock and monotonic clock in step; `slept_s` keeps every sleep."""

    def __init__(self, at: datetime = STARTED_AT) -> None:
        self._started_at = at
        self.elapsed_s = 0.0
        self.slept_s: list[float] = []

    @property
    def pace(self) -> Pace:
        return Pace(now=self.now, monotonic=self.monotonic, sleep=self.sleep)

    def now(self) -> datetime:
        return self._started_at + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept_s.append(seconds)
        self.elapsed_s += seconds
