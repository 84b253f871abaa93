"""The queue of background jobs: rows in the database, messages on Huey."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cds.domain.errors import CdsError
from cds.domain.job import rank_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cds.adapters.job_ledger import SqlJobLedger
    from cds.adapters.job_messages import JobMessages
    from cds.domain.job import Job, NewJob
    from cds.ports import Clock

log = logging.getLogger(__name__)


class HueyJobQueue:
    """Queues jobs; implements `cds.ports.JobQueue`.

    The row is written before its message is sent: a job is never lost with its message, a worker
    sends again what it finds overdue.

    Parameters
    ----------
    messages
        Returns the messages of this process.

    """

    def __init__(
        self, ledger: SqlJobLedger, messages: Callable[[], JobMessages], clock: Clock
    ) -> None:
        self.ledger = ledger
        self._messages = messages
        self._clock = clock

    @property
    def messages(self) -> JobMessages:
        """Return the messages of this process."""
        return self._messages()

    def submit(self, job: NewJob) -> Job:
        """Queue a job, or return the open one about the same subject (see `JobQueue.submit`)."""
        kept, is_new = self.ledger.add(job)
        if is_new:
            self.send(kept)
        return kept

    def retry(self, job_id: str) -> Job:
        """Put a dead letter back; CdsError as `SqlJobDesk.retry`."""
        job = self.ledger.desk.retry(job_id)
        self.send(job)
        return job

    def send(self, job: Job) -> None:
        """Send a job's message, when it is due; a queue that is down is logged, not raised."""
        delay = job.not_before - self._clock.now()
        try:
            self.messages.send(job.job_id, rank=rank_of(job.work, job.order_priority), delay=delay)
        except CdsError as error:
            log.warning("job-not-sent", extra={"job_id": job.job_id, "reason": error.reason.value})
