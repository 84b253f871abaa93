from __future__ import annotations

from cds.adapters.circuit_breaker import CircuitBreaker


class Seconds:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def an_open_breaker(clock: Seconds) -> CircuitBreaker:
    breaker = CircuitBreaker(failures=3, probe_interval_s=60, clock=clock)
    for _ in range(3):
        assert breaker.enter() == 0
        breaker.failed()
    return breaker


def test_breaker_when_failures_are_not_in_a_row_stays_closed() -> None:
    breaker = CircuitBreaker(failures=3, probe_interval_s=60, clock=Seconds())
    for _ in range(20):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.enter() == 0
    assert breaker.open_for_s is None


def test_breaker_when_open_refuses_until_the_probe() -> None:
    clock = Seconds()
    breaker = an_open_breaker(clock)
    assert breaker.enter() == 60
    clock.now_s += 59
    assert breaker.enter() == 1
    assert breaker.open_for_s == 59


def test_breaker_when_half_open_lets_one_caller_pass() -> None:
    clock = Seconds()
    breaker = an_open_breaker(clock)
    clock.now_s += 60
    assert [breaker.enter() for _ in range(5)] == [0, 60, 60, 60, 60]


def test_breaker_when_the_probe_fails_waits_a_whole_interval_again() -> None:
    clock = Seconds()
    breaker = an_open_breaker(clock)
    clock.now_s += 60
    assert breaker.enter() == 0
    clock.now_s += 5
    breaker.failed()
    assert breaker.enter() == 60


def test_breaker_when_the_probe_succeeds_closes_for_everybody() -> None:
    clock = Seconds()
    breaker = an_open_breaker(clock)
    clock.now_s += 60
    assert breaker.enter() == 0
    breaker.succeeded()
    assert [breaker.enter() for _ in range(5)] == [0] * 5
    breaker.failed()
    assert breaker.enter() == 0  # the count starts anew


def test_breaker_when_a_probe_never_reports_lets_the_next_one_pass() -> None:
    clock = Seconds()
    breaker = an_open_breaker(clock)
    for _ in range(3):
        clock.now_s += 60
        assert breaker.enter() == 0
        assert breaker.enter() > 0
