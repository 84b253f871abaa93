"""Leaves a server in peace that fails time after time, and asks now and then whether it is back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic


class CircuitBreaker:
    """Closed, open or half-open for one server; one lock, no thread, no timer.

    Closed lets everyone pass. After so many failures in a row it opens: nobody passes, except one
    caller per interval, the probe. A success closes it, a failed probe starts the next interval. A
    probe that never reports blocks nobody longer than that interval.

    Parameters
    ----------
    failures
        In a row, that open it.
    probe_interval_s
        Between two probes.
    clock
        Monotonic seconds; another one in tests.

    """

    def __init__(
        self,
        *,
        failures: int,
        probe_interval_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._limit = failures
        self._probe_interval_s = probe_interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._n_failures = 0
        self._opened_at_s: float | None = None
        self._next_probe_s = 0.0

    @property
    def open_for_s(self) -> float | None:
        """How long it has been open, None while it is closed."""
        opened_at_s = self._opened_at_s
        return None if opened_at_s is None else max(0.0, self._clock() - opened_at_s)

    def enter(self) -> float:
        """Return 0 if the caller may ask now, else the seconds until the next probe.

        Whoever was let in reports with `succeeded` or `failed`.
        """
        if self._is_closed():  # the common case takes no lock
            return 0.0
        with self._lock:
            if self._is_closed():
                return 0.0
            wait_s = self._next_probe_s - self._clock()
            if wait_s > 0:
                return wait_s
            self._next_probe_s = self._clock() + self._probe_interval_s
            return 0.0

    def succeeded(self) -> None:
        """Note that the server answered."""
        if self._n_failures == 0 and self._opened_at_s is None:
            return
        with self._lock:
            self._n_failures = 0
            self._opened_at_s = None

    def failed(self) -> None:
        """Note that the server failed."""
        with self._lock:
            self._n_failures += 1
            if self._n_failures < self._limit:
                return
            if self._opened_at_s is None:
                self._opened_at_s = self._clock()
            self._next_probe_s = self._clock() + self._probe_interval_s

    def _is_closed(self) -> bool:
        return self._opened_at_s is None
