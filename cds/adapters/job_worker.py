"""The worker: receives ids of jobs from Huey, claims their rows, runs them, notes what became."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from huey.consumer import Consumer

from cds.domain.errors import CdsError
from cds.domain.job import PERMANENT, Deferral, JobKind, JobState, Work

if TYPE_CHECKING:
    from cds.adapters.job_queue import HueyJobQueue
    from cds.domain.job import Job

log = logging.getLogger(__name__)

TICK_S = 1.0
BEATS_PER_LEASE = 4
LONGEST_POLL_S = 1.0  # of the SQLite file, when nothing is queued
GRACE_S = 60.0  # a running job may finish after SIGTERM; beyond that another worker runs it again
BULK_WAITS = timedelta(seconds=5)

Handler = Callable[["Job"], Deferral | None]


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """How a worker works.

    Attributes
    ----------
    handlers
        What runs each kind of job; returns None when it is done, or until when it must wait.
    n_threads
        Jobs at a time; bulk work gets all but one of them.
    on_tick
        Called about once a second: schedules.

    """

    handlers: Mapping[JobKind, Handler]
    n_threads: int = 1
    on_tick: Callable[[], None] = lambda: None


class _Consumer(Consumer):  # type: ignore[misc]  # huey ships no types
    """Huey's consumer without its signal handlers: the command line owns the signals."""

    def _set_signal_handlers(self) -> None:
        """Leave the process's signals alone."""


class JobWorker:
    """Runs jobs until it is told to stop."""

    def __init__(self, queue: HueyJobQueue, setup: WorkerSetup) -> None:
        self._queue = queue
        self._ledger = queue.ledger
        self._setup = setup
        self._stop = threading.Event()
        self.name = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
        queue.messages.run = self.run_job

    def stop(self) -> None:
        """Let `run` return after the running jobs; safe in a signal handler."""
        self._stop.set()

    def run(self) -> bool:
        """Work until `stop`; return whether every running job finished in time."""
        consumer = _Consumer(
            self._queue.messages.huey,
            workers=self._setup.n_threads,
            periodic=False,
            max_delay=LONGEST_POLL_S,
            shutdown_timeout=GRACE_S,
        )
        self._ledger.beat(self.name)
        consumer.start()
        log.info("worker-started", extra={"n_threads": self._setup.n_threads})
        beat_every = self._ledger.lease.total_seconds() / BEATS_PER_LEASE
        since_beat = 0.0
        pause = min(TICK_S, beat_every)
        while not self._stop.wait(pause):
            since_beat += pause
            if since_beat >= beat_every:
                since_beat = 0.0
                self._safely(lambda: self._ledger.beat(self.name))
                consumer.check_worker_health()
            self.tick()
        return self._shut_down(consumer, beat_every)

    def tick(self) -> None:
        """Send overdue jobs again, and run what is scheduled; an outage is logged, not raised."""
        self._safely(self._recover)
        self._safely(self._setup.on_tick)

    def run_job(self, job_id: str) -> None:
        """Claim a job and run it; what becomes of it is in the ledger."""
        job = self._ledger.claim(job_id, self.name)
        if job is None:  # another message about it came first, or it is not due
            return
        if job.work is Work.BULK and self._is_bulk_full():
            self._waits(job, Deferral(BULK_WAITS, "Bulk work leaves a thread to arrivals."))
            return
        handler = self._setup.handlers[job.kind]
        try:
            deferral = handler(job)
        except CdsError as error:
            self._failed(job, error.sentence, is_permanent=error.reason in PERMANENT)
        except Exception as error:  # noqa: BLE001  # the outermost boundary of a job
            error_id = str(uuid4())
            log.error(  # noqa: TRY400  # the text of an unknown error may hold PHI
                "unexpected-error",
                extra={"error_id": error_id, "error_class": type(error).__name__},
            )
            sentence = f"Something unexpected happened ({type(error).__name__}, id {error_id})."
            self._failed(job, sentence, is_permanent=False)
        else:
            self._ended(job, deferral)

    def _ended(self, job: Job, deferral: Deferral | None) -> None:
        if deferral is not None:
            self._waits(job, deferral)
        elif self._ledger.finish(job, self.name):
            log.info("job-done", extra={"job_id": job.job_id, "kind": job.kind.value})

    def _waits(self, job: Job, deferral: Deferral) -> None:
        if self._ledger.defer(job, self.name, deferral) is not None:
            self._send_again(job.job_id)

    def _failed(self, job: Job, sentence: str, *, is_permanent: bool) -> None:
        self._ledger.fail(job, self.name, sentence, is_permanent=is_permanent)
        state = self._send_again(job.job_id)
        log.warning(
            "job-failed",
            extra={
                "job_id": job.job_id,
                "kind": job.kind.value,
                "attempts": job.attempts,
                "state": None if state is None else state.value,
            },
        )

    def _send_again(self, job_id: str) -> JobState | None:
        job = self._ledger.get(job_id)
        if job is not None and job.state is JobState.WAITING:
            self._queue.send(job)
        return None if job is None else job.state

    def _is_bulk_full(self) -> bool:
        return self._ledger.n_running(Work.BULK) > max(1, self._setup.n_threads - 1)

    def _recover(self) -> None:
        for job in self._ledger.recover():
            self._queue.send(job)

    def _safely(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  # the worker outlives a database that is away
            log.error(  # noqa: TRY400  # the text of an unknown error may hold PHI
                "worker-tick-failed", extra={"error_class": type(error).__name__}
            )

    def _shut_down(self, consumer: Consumer, beat_every: float) -> bool:
        """Let running jobs finish, and keep their leases meanwhile."""
        ended = threading.Event()

        def keep_leases() -> None:
            while not ended.wait(beat_every):
                self._safely(lambda: self._ledger.beat(self.name))

        threading.Thread(target=keep_leases, daemon=True).start()
        consumer.stop(graceful=True)
        ended.set()
        is_clean = not any(thread.is_alive() for _, thread in consumer.worker_threads)
        log.info("worker-stopped", extra={"is_clean": is_clean})
        return is_clean
