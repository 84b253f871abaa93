from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cds.adapters.pacs_gate import Meter, PacsGate, PacsGates, Work
from cds.domain.errors import CdsError, Reason
from cds.domain.pacs_policy import PacsPolicy
from tests.builders.registration import a_registration
from tests.fakes.pace import FakeTime

DOWN = CdsError(Reason.UPSTREAM_FAILED, "The PACS cannot be reached.")


def status(code: int, **facts: Any) -> CdsError:
    reason = Reason.UPSTREAM_REFUSED if code in {401, 403} else Reason.UPSTREAM_FAILED
    return CdsError(reason, f"The PACS answered {code}.", status=code, **facts)


class Pacs:
    """Answers by a script, the last line of which is repeated, and keeps when it was asked."""

    def __init__(self, time: FakeTime, *script: CdsError | int) -> None:
        self.time = time
        self.asked_at_s: list[float] = []
        self._script: Iterator[CdsError | int] = iter(script)
        self._last: CdsError | int = 0

    def __call__(self, meter: Meter) -> str:
        self.asked_at_s.append(self.time.elapsed_s)
        self._last = next(self._script, self._last)
        if isinstance(self._last, CdsError):
            raise self._last
        meter(self._last)
        return "answer"


def a_gate(time: FakeTime, **policy: Any) -> PacsGate:
    return PacsGate(PacsPolicy(**{"requests_per_s": 1000.0, **policy}), pace=time.pace)


def refusal(gate: PacsGate, request: Callable[[Meter], str], **options: Any) -> CdsError:
    with pytest.raises(CdsError) as caught:
        gate.ask(request, **options)
    return caught.value


def test_requests_when_many_keep_their_distance() -> None:
    time = FakeTime()
    gate, pacs = a_gate(time, requests_per_s=4.0), Pacs(time)
    for _ in range(5):
        gate.ask(pacs)
    assert pacs.asked_at_s == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


def test_requests_after_a_large_answer_wait_until_its_bytes_are_paid() -> None:
    time = FakeTime()
    gate, pacs = a_gate(time, megabytes_per_s=10.0), Pacs(time, 50_000_000, 1_000_000, 0)
    for _ in range(3):
        gate.ask(pacs)
    assert pacs.asked_at_s == pytest.approx([0, 5.0, 5.1])


def test_bytes_of_a_refused_answer_are_paid_too() -> None:
    time = FakeTime()
    too_large = CdsError(
        Reason.UPSTREAM_FAILED, "Too much.", max_bytes=20_000_000, n_read_bytes=20_000_000
    )
    gate, pacs = a_gate(time, megabytes_per_s=10.0), Pacs(time, too_large, 0)
    assert refusal(gate, pacs) is too_large  # and it is not asked for again
    gate.ask(pacs)
    assert pacs.asked_at_s == pytest.approx([0, 2.0])


def test_bulk_in_its_pause_waits_and_prompt_work_does_not() -> None:
    time = FakeTime(datetime(2026, 1, 5, 18, 30, tzinfo=UTC))
    told: list[str] = []
    gate = a_gate(time, bulk_pauses=("07:00-19:00",))
    gate.tell = told.append
    pacs = Pacs(time)
    gate.ask(pacs, work=Work.PROMPT)
    gate.ask(pacs, work=Work.BULK)
    assert pacs.asked_at_s == pytest.approx([0, 1800], abs=0.01)
    assert told == ["Bulk work pauses until 19:00 UTC, as agreed for this PACS."]
    assert max(time.slept_s) <= 60  # it looks at the clock each minute


def test_failure_that_may_pass_is_tried_again_with_growing_distance() -> None:
    time = FakeTime()
    gate, pacs = a_gate(time), Pacs(time, DOWN, status(502), 0)
    assert gate.ask(pacs) == "answer"
    assert pacs.asked_at_s == pytest.approx([0, 1, 5], abs=0.01)


def test_failure_that_stays_is_raised_after_the_attempts() -> None:
    time = FakeTime()
    gate, pacs = a_gate(time, max_attempts=3), Pacs(time, DOWN)
    assert refusal(gate, pacs, is_persistent=True) is DOWN  # it has never answered: a wrong address
    assert len(pacs.asked_at_s) == 3


@pytest.mark.parametrize("code", [400, 401, 403, 406])
def test_refusal_is_not_tried_again_and_opens_nothing(code: int) -> None:
    time = FakeTime()
    gate, pacs = a_gate(time), Pacs(time, status(code))
    for _ in range(10):
        assert refusal(gate, pacs).facts["status"] == code
    assert len(pacs.asked_at_s) == 10
    assert gate.breaker.open_for_s is None


def test_retry_after_is_obeyed_by_everybody() -> None:
    time = FakeTime()
    gate, pacs = a_gate(time), Pacs(time, status(429, retry_after_s=120.0), 0)
    other = Pacs(time)
    assert gate.ask(pacs) == "answer"
    assert pacs.asked_at_s == pytest.approx([0, 120])
    pacs = Pacs(time, status(503, retry_after_s=30.0))
    assert refusal(gate, pacs, work=Work.PROMPT).facts["retry_after_s"] == 30
    error = refusal(gate, other, work=Work.PROMPT)
    assert error.facts["retry_after_s"] == 30
    assert other.asked_at_s == []
    gate.ask(other)
    assert other.asked_at_s == pytest.approx([150], abs=0.01)


def test_retry_after_beyond_the_bound_ends_the_work_at_once() -> None:
    time = FakeTime()
    gate, pacs = a_gate(time, max_retry_after_s=900), Pacs(time, status(503, retry_after_s=3600.0))
    assert refusal(gate, pacs).facts["retry_after_s"] == 3600
    assert len(pacs.asked_at_s) == 1
    assert sum(time.slept_s) < 0.01


def test_retry_after_for_ever_ends_after_the_attempts() -> None:
    time = FakeTime()
    gate, pacs = a_gate(time, max_attempts=3), Pacs(time, status(429, retry_after_s=1.0))
    assert refusal(gate, pacs).facts["status"] == 429
    assert pacs.asked_at_s == pytest.approx([0, 1, 2])


def test_outage_of_an_hour_costs_the_pacs_one_request_a_minute() -> None:
    time = FakeTime()
    gate = a_gate(time, breaker_failures=5, outage_patience_s=2 * 3600.0)
    back_at_s = 3600.0
    asked_at_s: list[float] = []

    def pacs(_meter: Meter) -> str:
        asked_at_s.append(time.elapsed_s)
        if 0 < time.elapsed_s < back_at_s:
            raise DOWN
        return "answer"

    gate.ask(pacs)
    time.sleep(1)
    assert gate.ask(pacs, is_persistent=True) == "answer"
    assert asked_at_s[-1] - back_at_s < 60
    outage = [s for s in asked_at_s if 1 <= s < back_at_s]
    assert len(outage) <= 5 + 60
    probes = outage[5:]
    assert all(b - a >= 60 for a, b in itertools.pairwise(probes))
    gate.ask(pacs)
    assert gate.breaker.open_for_s is None


def test_outage_longer_than_the_patience_ends_bulk_work_with_the_reason() -> None:
    time = FakeTime()
    gate = a_gate(time, outage_patience_s=900)
    gate.ask(Pacs(time))
    pacs = Pacs(time, DOWN)
    assert refusal(gate, pacs, is_persistent=True).reason is Reason.UPSTREAM_FAILED
    assert 900 <= time.elapsed_s <= 1100
    assert len(pacs.asked_at_s) <= 5 + 16


def test_prompt_work_during_an_outage_is_refused_without_asking() -> None:
    time = FakeTime()
    gate, pacs = a_gate(time, breaker_failures=2), Pacs(time, DOWN)
    for _ in range(2):
        refusal(gate, pacs, work=Work.PROMPT)
    error = refusal(gate, pacs, work=Work.PROMPT)
    assert (len(pacs.asked_at_s), error.facts["retry_after_s"]) == (2, 60)
    assert sum(time.slept_s) < 0.01


def test_threads_when_many_never_exceed_the_requests_under_way() -> None:
    gate = PacsGate(PacsPolicy(max_parallel=2, requests_per_s=10_000, megabytes_per_s=10_000))
    lock, counts, both = threading.Lock(), {"now": 0, "most": 0}, threading.Barrier(2, timeout=10)

    def request(_meter: Meter) -> str:
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts["most"], counts["now"])
        both.wait()  # passes only if two are under way at once
        with lock:
            counts["now"] -= 1
        return "answer"

    threads = [threading.Thread(target=gate.ask, args=(request,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {"now": 0, "most": 2}


def test_gates_share_one_per_pacs_and_policy() -> None:
    gates = PacsGates(pace=FakeTime().pace)
    one = a_registration(default_pacs_url="https://pacs.example.invalid/dicomweb")
    other = a_registration(
        ehr_id="b",
        default_pacs_url="https://pacs.example.invalid/dicomweb",
        pacs_policy=PacsPolicy(max_parallel=1),
    )
    assert gates(one) is gates(one)
    assert gates(one) is not gates(other)
    assert gates(other).policy.max_parallel == 1
