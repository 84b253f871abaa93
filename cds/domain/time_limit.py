"""How long a call may still take, on the monotonic clock."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class TimeLimit:
    """A deadline on the monotonic clock; implements `cds.ports.Deadline`.

    Parameters
    ----------
    limit_s
        Seconds from now.
    clock
        Monotonic seconds; another one in tests.

    """

    def __init__(self, limit_s: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._ends = clock() + limit_s

    def remaining_s(self) -> float:
        """Return seconds left, never negative."""
        return max(0.0, self._ends - self._clock())

    def earlier_by(self, margin_s: float) -> TimeLimit:
        """Return a deadline that ends `margin_s` before this one."""
        return TimeLimit(max(0.0, self.remaining_s() - margin_s), clock=self._clock)
