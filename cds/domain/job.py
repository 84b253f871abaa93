"""Background jobs: what is asked for, in which order it runs, when it is tried again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from cds.domain.errors import Reason

MAX_ATTEMPTS = 6  # with the delays below: about ten minutes of an upstream being down
FIRST_RETRY_S = 10.0
RETRY_FACTOR = 2.5
LONGEST_RETRY_S = 600.0
BULK_SHARE = 0.5  # bulk work may fill half of the queue, so that arrivals always find room
# What trying again cannot mend: a person must act, so the job is dead at once.
PERMANENT = frozenset(
    {
        Reason.INVALID_CONFIGURATION,
        Reason.INVALID_REQUEST,
        Reason.NOT_AUTHORIZED,
        Reason.EGRESS_REFUSED,
    }
)


class JobKind(StrEnum):
    """What a job does."""

    ANALYSE_STUDY = "analyse-study"
    POLL_ARRIVALS = "poll-arrivals"
    RECHECK_RESULT = "recheck-result"
    SWEEP_RESULTS = "sweep-results"


class JobState(StrEnum):
    """Where a job is; a dead one waits for a person."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"


class Work(StrEnum):
    """Who waits for a job."""

    INTERACTIVE = "interactive"
    ARRIVAL = "arrival"
    BULK = "bulk"


class OrderPriority(StrEnum):
    """FHIR request-priority of the order behind a study."""

    STAT = "stat"
    ASAP = "asap"
    URGENT = "urgent"
    ROUTINE = "routine"


_RANK = {
    OrderPriority.STAT: 3,
    OrderPriority.ASAP: 2,
    OrderPriority.URGENT: 1,
    OrderPriority.ROUTINE: 0,
}


def rank_of(work: Work, order_priority: OrderPriority | None) -> int:
    """Return the place in the queue, higher first: bulk last, then stat > asap > urgent > routine.

    Examples
    --------
    >>> rank_of(Work.ARRIVAL, OrderPriority.STAT) > rank_of(Work.INTERACTIVE, None)
    True
    >>> rank_of(Work.BULK, OrderPriority.STAT) < rank_of(Work.ARRIVAL, None)
    True

    """
    by_order = 10 * _RANK[order_priority or OrderPriority.ROUTINE]
    if work is Work.BULK:
        return by_order
    return 100 + by_order + (5 if work is Work.INTERACTIVE else 0)


def retry_delay_s(attempts: int) -> float | None:
    """Return how long to wait after so many failed attempts, or None if it was the last.

    Examples
    --------
    >>> [retry_delay_s(n) for n in (1, 2, 3)], retry_delay_s(MAX_ATTEMPTS)
    ([10.0, 25.0, 62.5], None)

    """
    if attempts >= MAX_ATTEMPTS:
        return None
    return min(FIRST_RETRY_S * RETRY_FACTOR ** (attempts - 1), LONGEST_RETRY_S)


def why_refused(work: Work, *, n_open: int, limit: int) -> str | None:
    """Return why a queue of this length takes no more of this work, or None if it does.

    Examples
    --------
    >>> why_refused(Work.ARRIVAL, n_open=60, limit=100) is None
    True
    >>> why_refused(Work.BULK, n_open=60, limit=100)
    'The queue is half full; bulk work waits so that arriving studies find room.'

    """
    if n_open >= limit:
        return "The queue of background jobs is full; try again later."
    if work is Work.BULK and n_open >= limit * BULK_SHARE:
        return "The queue is half full; bulk work waits so that arriving studies find room."
    return None


@dataclass(frozen=True, slots=True, repr=False)
class NewJob:
    """A job to be queued.

    Attributes
    ----------
    payload
        Names and values; kept encrypted, never part of the message that a worker receives.
    subject
        What the job is about, hashed by the queue: an open job about the same subject is the same
        job.
    is_once
        True holds the subject even after the job is done: a period of a schedule.

    """

    kind: JobKind
    ehr_id: str
    subject: str
    payload: Mapping[str, str] = field(default_factory=dict)
    work: Work = Work.ARRIVAL
    order_priority: OrderPriority | None = None
    delay: timedelta = timedelta(0)
    is_once: bool = False

    def __repr__(self) -> str:
        return f"NewJob({self.kind.value}, {self.ehr_id}, <redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class Job:
    """A job as the queue keeps it.

    Attributes
    ----------
    attempts
        How often it was started.
    reason
        Why it failed last, or what it waits for; a sentence free of PHI.
    order_priority
        None while nobody has looked.

    """

    job_id: str
    kind: JobKind
    ehr_id: str
    state: JobState
    work: Work
    payload: Mapping[str, str]
    queued_at: datetime
    not_before: datetime
    attempts: int = 0
    order_priority: OrderPriority | None = None
    reason: str | None = None
    first_failed_at: datetime | None = None
    last_failed_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Job({self.job_id}, {self.kind.value}, {self.state.value}, <redacted>)"


@dataclass(frozen=True, slots=True)
class Deferral:
    """A job that cannot finish yet, and did not fail: it waits without using up an attempt.

    Attributes
    ----------
    order_priority
        Found out meanwhile; moves the job in the queue.

    """

    delay: timedelta
    reason: str
    order_priority: OrderPriority | None = None


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How the queue is doing.

    Attributes
    ----------
    oldest_waiting_at
        When the job was queued that is due and has waited longest; None if none is due.
    last_heartbeat_at
        Of any worker; None if there never was one.

    """

    n_waiting: int
    n_running: int
    n_dead: int
    oldest_waiting_at: datetime | None = None
    last_heartbeat_at: datetime | None = None
