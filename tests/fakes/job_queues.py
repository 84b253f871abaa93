"""Queues of background jobs in a temporary folder, with a clock that the test moves."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cds.adapters.job_ledger import SqlJobLedger
from cds.adapters.job_messages import open_messages
from cds.adapters.job_queue import HueyJobQueue
from cds.adapters.job_worker import JobWorker, WorkerSetup
from cds.adapters.storage import Storage, initialise, open_storage
from cds.domain.job import Deferral, Job, JobKind, NewJob
from cds.settings import Settings
from tests.fakes.clock import FixedClock

LIMIT = 10


class QueueAtRest:
    """A queue over real storage whose messages are received one by one, when the test says so."""

    def __init__(self, state_dir: Path, queue_url: str = "") -> None:
        settings = Settings(state_dir=state_dir)
        initialise(settings)
        self.clock = FixedClock()
        self.storage: Storage = open_storage(settings, self.clock)
        self.ledger = SqlJobLedger(
            self.storage.engine, self.storage.cipher, self.storage.keys, self.clock, limit=LIMIT
        )
        self.messages = open_messages(queue_url, state_dir)
        self.queue = HueyJobQueue(self.ledger, lambda: self.messages, self.clock)
        self.seen: list[Job] = []
        self.handler: Callable[[Job], Deferral | None] = lambda _job: None
        self.worker = self.a_worker()

    def a_worker(self, n_threads: int = 1) -> JobWorker:
        handlers = dict.fromkeys(JobKind, self._handle)
        return JobWorker(self.queue, WorkerSetup(handlers, n_threads))

    def receive_all(self) -> list[str]:
        """Run every message that is queued now, in order; return the subjects that ran."""
        before = len(self.seen)
        while (task := self.messages.huey.dequeue()) is not None:
            self.messages.huey.execute(task)
        return [job.payload.get("name", "") for job in self.seen[before:]]

    def close(self) -> None:
        self.messages.huey.storage.flush_all()
        self.messages.huey.storage.close()
        self.storage.engine.dispose()

    def _handle(self, job: Job) -> Deferral | None:
        self.seen.append(job)
        return self.handler(job)


def a_job(name: str = "one", **over: object) -> NewJob:
    values: dict[str, object] = {
        "kind": JobKind.ANALYSE_STUDY,
        "ehr_id": "a",
        "subject": name,
        "payload": {"name": name},
    }
    return NewJob(**{**values, **over})  # type: ignore[arg-type]  # a builder


MINUTE = timedelta(minutes=1)
