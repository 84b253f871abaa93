"""Deadlines on the monotonic clock."""

from __future__ import annotations

import time


class TimeLeft:
    """A `cds.ports.Deadline` that ends a number of seconds after it was made.

    Parameters
    ----------
    seconds
        How long the call may take from now on.

    """

    def __init__(self, seconds: float) -> None:
        self._until_s = time.monotonic() + seconds

    def remaining_s(self) -> float:
        """Return seconds left, never negative."""
        return max(0.0, self._until_s - time.monotonic())
