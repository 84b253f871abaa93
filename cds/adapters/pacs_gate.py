"""The one way to a PACS: no more load than its administrator agreed to, whoever asks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from cds.adapters.circuit_breaker import CircuitBreaker
from cds.adapters.pacs_turns import PacsTurns, turns_folder
from cds.domain.errors import CdsError, Reason
from cds.domain.pacs_policy import PacsPolicy
from cds.domain.registration import EhrRegistration

Answer = TypeVar("Answer")
Meter = Callable[[int], None]

LONGEST_SLEEP_S = 60.0  # a pause is looked at anew each minute, should the clock be set meanwhile
FIRST_BACKOFF_S = 1.0
BACKOFF_FACTOR = 4.0
LONGEST_BACKOFF_S = 60.0
# What may have passed at the next try; the other refusals are answers.
MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})


class Work(StrEnum):
    """Why the PACS is asked.

    BULK (an import) waits for everything: pauses, `Retry-After`, an outage. PROMPT (a study that
    has just arrived, a clinician) waits only for its turn, and is refused at once while the PACS is
    down or has asked to be left alone.
    """

    BULK = "bulk"
    PROMPT = "prompt"


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Pace:
    """Clocks and sleep, so that tests need neither.

    Attributes
    ----------
    now
        Aware time; decides about the pauses of bulk work.
    monotonic
        Seconds; decides about everything else.

    """

    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class PacsGate:
    """Lets requests to one PACS pass under its policy. Safe to use from several threads.

    It bounds the requests under way, requests and bytes per second, observes the pauses of bulk
    work and `Retry-After`, retries what may pass with growing distances, and holds one circuit
    breaker for everybody: there is no retry storm when the PACS comes back.

    Parameters
    ----------
    policy
        Of this PACS.
    time_zone
        The EHR's, for a policy that names none.
    pace
        Clocks and sleep.
    tell
        Told once in a sentence when bulk work waits long; free of PHI.
    folder
        Where the processes of an installation share turns, bytes, places and `Retry-After` at this
        PACS (`turns_folder`); None keeps them to this process. The breaker is each process's own.

    """

    def __init__(
        self,
        policy: PacsPolicy,
        *,
        time_zone: str = "UTC",
        pace: Pace | None = None,
        tell: Callable[[str], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.policy = policy
        self._pace = pace or Pace()
        self.breaker = CircuitBreaker(
            failures=policy.breaker_failures,
            probe_interval_s=policy.probe_interval_s,
            clock=self._pace.monotonic,
        )
        self.tell: Callable[[str], None] = tell or (lambda _sentence: None)
        self._time_zone = time_zone
        clock = self._pace.monotonic if folder is None else self._wall_s
        self._turns = PacsTurns(policy, clock, self._pace.sleep, folder)
        self._has_answered = False
        self._told = ""

    def ask(
        self,
        request: Callable[[Meter], Answer],
        *,
        work: Work = Work.BULK,
        is_persistent: bool = False,
    ) -> Answer:
        """Return what a request gave, after its turn and as many tries as the policy allows.

        Parameters
        ----------
        request
            Asks the PACS once; reports the bytes of the answer to the meter that it is handed.
        work
            Whether it waits for pauses and outages.
        is_persistent
            True tries again for `outage_patience_s`, not for `max_attempts`: for a request that the
            rest of the work depends on, of a PACS that has answered before.

        Raises
        ------
        CdsError
            What the request raised last; UPSTREAM_FAILED with the fact ``retry_after_s`` if it was
            not sent because the PACS is down or has asked to be left alone.

        """
        began_s = self._pace.monotonic()
        n_attempts = 0
        while True:
            self._wait_until_admitted(work)
            try:
                return self._sent(request, work)
            except CdsError as error:
                n_attempts += 1
                if work is Work.PROMPT or not _may_pass(error):
                    raise
                waited_s = self._pace.monotonic() - began_s
                if is_persistent and self._has_answered:
                    if waited_s >= self.policy.outage_patience_s:
                        raise
                elif n_attempts >= self.policy.max_attempts:
                    raise
                self._back_off(error, n_attempts)

    def _sent(self, request: Callable[[Meter], Answer], work: Work) -> Answer:
        with self._turns.under_way(is_prompt=work is Work.PROMPT):
            wait_s = self._turns.reserve()
            if wait_s > 0:
                self._pace.sleep(wait_s)
            try:
                answer = request(self._turns.charge)
            except CdsError as error:
                self._note(error)
                raise
        self._has_answered = True
        self.breaker.succeeded()
        return answer

    def _wall_s(self) -> float:
        return self._pace.now().timestamp()

    def _note(self, error: CdsError) -> None:
        """Learn from a failure; an answer that refuses shows that the PACS lives."""
        if error.facts.get("n_requests") == 0 or error.reason is Reason.EGRESS_REFUSED:
            return  # the PACS was not asked, so nothing was learnt
        n_read_bytes = error.facts.get("n_read_bytes")
        if isinstance(n_read_bytes, int):
            self._turns.charge(n_read_bytes)  # before the rest was refused
        asked_s = error.facts.get("retry_after_s")
        if isinstance(asked_s, int | float):
            self._turns.pause(float(asked_s))
        elif _may_pass(error):
            self.breaker.failed()
        else:
            self.breaker.succeeded()

    def _wait_until_admitted(self, work: Work) -> None:
        while (wait_s := self._wait_s(work)) > 0:
            self._pace.sleep(min(wait_s, LONGEST_SLEEP_S))
        self._told = ""

    def _say(self, sentence: str) -> None:
        """Tell once why bulk work waits, however long it does."""
        if sentence != self._told:
            self._told = sentence
            self.tell(sentence)

    def _wait_s(self, work: Work) -> float:
        if work is Work.BULK and (pause_s := self._bulk_pause_s()) > 0:
            return pause_s
        asked_s = self._turns.paused_for_s()
        if asked_s > 0:
            if work is Work.PROMPT or asked_s > self.policy.max_retry_after_s:
                raise _left_alone("The PACS has asked to be left alone for a time.", asked_s)
            return asked_s
        probe_s = self.breaker.enter()
        if probe_s > 0:
            open_for_s = self.breaker.open_for_s or 0.0
            if work is Work.PROMPT or open_for_s >= self.policy.outage_patience_s:
                raise _left_alone("The PACS is not asked for now: it failed repeatedly.", probe_s)
            self._say("The PACS fails repeatedly; it is asked now and then whether it is back.")
        return probe_s

    def _bulk_pause_s(self) -> float:
        now = self._pace.now()
        resumes_at = self.policy.bulk_resumes_at(now, time_zone=self._time_zone)
        if resumes_at is None:
            return 0.0
        self._say(f"Bulk work pauses until {resumes_at:%H:%M} UTC, as agreed for this PACS.")
        return max((resumes_at - now).total_seconds(), 1.0)

    def _back_off(self, error: CdsError, n_attempts: int) -> None:
        if "retry_after_s" in error.facts or self.breaker.open_for_s is not None:
            return  # the pause or the probe says when
        backoff_s = FIRST_BACKOFF_S * BACKOFF_FACTOR ** (n_attempts - 1)
        self._pace.sleep(min(backoff_s, LONGEST_BACKOFF_S))


class PacsGates:
    """One gate per PACS, kept, so that everybody who asks it shares its limits and its breaker.

    Two EHRs with one PACS share it too, if they have agreed to the same policy.

    Parameters
    ----------
    pace
        Clocks and sleep.
    state_dir
        Of the installation, whose processes share each PACS's limits; None keeps them apart.

    """

    def __init__(self, *, pace: Pace | None = None, state_dir: Path | None = None) -> None:
        self._pace = pace
        self._state_dir = state_dir
        self._gates: dict[tuple[str | None, PacsPolicy, str], PacsGate] = {}
        self._lock = threading.Lock()
        self._owner_pid = os.getpid()

    def __call__(self, registration: EhrRegistration) -> PacsGate:
        """Return the gate of a registration's PACS; a changed policy gets a new one."""
        if self._owner_pid != os.getpid():  # a lock that is held at a fork stays held
            self._gates, self._owner_pid, self._lock = {}, os.getpid(), threading.Lock()
        policy = registration.pacs_policy
        key = (registration.default_pacs_url, policy, registration.time_zone)
        with self._lock:
            gate = self._gates.get(key)
            if gate is None:
                gate = PacsGate(
                    policy,
                    time_zone=registration.time_zone,
                    pace=self._pace,
                    folder=self._folder(registration),
                )
                self._gates[key] = gate
            return gate

    def _folder(self, registration: EhrRegistration) -> Path | None:
        if self._state_dir is None:
            return None
        return turns_folder(self._state_dir, registration.default_pacs_url)


def _may_pass(error: CdsError) -> bool:
    if error.reason is Reason.DEADLINE:
        return True
    if error.reason is not Reason.UPSTREAM_FAILED or "max_bytes" in error.facts:
        return False
    status = error.facts.get("status")
    return status is None or status in MAY_PASS


def _left_alone(sentence: str, seconds: float) -> CdsError:
    return CdsError(Reason.UPSTREAM_FAILED, sentence, retry_after_s=round(seconds, 1))
