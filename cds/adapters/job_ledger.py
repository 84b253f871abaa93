"""Jobs in the database: the truth about them, whatever becomes of the messages that name them.

A message names a job and nothing else. Whoever receives it must claim the row: one worker can, and
holds it on a lease that ends when the worker does. A lost message is sent again, a repeated one
finds nothing to claim.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.job_desk import SqlJobDesk
from cds.adapters.job_rows import JobRows, in_order, release, take_back
from cds.adapters.sql.job_models import BackgroundJob, WorkerHeartbeat
from cds.domain.errors import CdsError, Reason
from cds.domain.job import (
    Deferral,
    Job,
    JobState,
    NewJob,
    Work,
    rank_of,
    retry_delay_s,
    why_refused,
)
from cds.ports import Clock, IdentityKeys

LEASE = timedelta(seconds=60)
RESEND_AFTER = timedelta(seconds=60)
MAX_REASON_CHARACTERS = 500
SHORTEST_DEFERRAL = timedelta(seconds=1)  # a job that cannot finish must not spin
_OPEN = (JobState.WAITING.value, JobState.RUNNING.value)


class SqlJobLedger:
    """Keeps jobs and their leases; `desk` shows them.

    Parameters
    ----------
    limit
        How many jobs may be open; see `cds.domain.job.why_refused`.
    lease
        How long a worker may be silent before its jobs are taken from it.

    """

    def __init__(
        self,
        engine: Engine,
        cipher: FieldCipher,
        keys: IdentityKeys,
        clock: Clock,
        *,
        limit: int,
        lease: timedelta = LEASE,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._clock = clock
        self._limit = limit
        self.lease = lease
        self._rows = JobRows(cipher)
        self.desk = SqlJobDesk(engine, self._rows, clock)

    def add(self, new: NewJob) -> tuple[Job, bool]:
        """Keep a job; return it and True, or the open one about the same subject and False.

        Raises
        ------
        CdsError
            QUEUE_FULL if the queue takes no more of this work.

        """
        subject = self._keys.patient_key(f"job:{new.ehr_id}:{new.kind.value}", new.subject)
        for _ in range(3):  # the open one may finish between our insert and our look
            found = self._open_about(subject)
            if found is not None:
                return found, False
            self._check_room(new)
            try:
                return self._insert(new, subject), True
            except IntegrityError:
                continue
        raise CdsError(Reason.QUEUE_FULL, "The queue is too busy; submit the job again.")

    def claim(self, job_id: str, worker: str) -> Job | None:
        """Take a due, waiting job for a worker; None if there is nothing to take."""
        now = self._clock.now()
        taken = self._update(
            update(BackgroundJob)
            .where(
                BackgroundJob.job_id == job_id,
                BackgroundJob.state == JobState.WAITING.value,
                BackgroundJob.not_before <= now,
            )
            .values(
                state=JobState.RUNNING.value,
                worker=worker,
                lease_until=now + self.lease,
                attempts=BackgroundJob.attempts + 1,
            )
        )
        return self.get(job_id) if taken else None

    def finish(self, job: Job, worker: str) -> bool:
        """Mark a job as done; False if it was taken from this worker meanwhile."""
        values: dict[str, Any] = {
            "state": JobState.DONE.value,
            "finished_at": self._clock.now(),
            "reason": None,
        }
        with Session(self._engine) as session, session.begin():
            row = self._held(session, job, worker)
            if row is None:
                return False
            if not row.is_once:
                values["open_key"] = None
            release(row, values)
        return True

    def defer(self, job: Job, worker: str, deferral: Deferral) -> datetime | None:
        """Let a job wait without counting an attempt; return until when, None if it was taken."""
        now = self._clock.now()
        with Session(self._engine) as session, session.begin():
            row = self._held(session, job, worker)
            if row is None:
                return None
            values = {
                "state": JobState.WAITING.value,
                "not_before": now + _pause(deferral),
                "sent_at": now,
                "attempts": row.attempts - 1,
                "reason": deferral.reason[:MAX_REASON_CHARACTERS],
            }
            if deferral.order_priority is not None:
                values["order_priority"] = deferral.order_priority.value
                values["rank"] = rank_of(Work(row.work), deferral.order_priority)
            release(row, values)
            return row.not_before

    def fail(self, job: Job, worker: str, reason: str, *, is_permanent: bool) -> datetime | None:
        """Note a failure; return when the job is tried again, or None if it is dead (or taken)."""
        now = self._clock.now()
        with Session(self._engine) as session, session.begin():
            row = self._held(session, job, worker)
            if row is None:
                return None
            delay_s = None if is_permanent else retry_delay_s(row.attempts)
            values: dict[str, Any] = {
                "reason": reason[:MAX_REASON_CHARACTERS],
                "first_failed_at": row.first_failed_at or now,
                "last_failed_at": now,
            }
            if delay_s is None:
                values |= {"state": JobState.DEAD.value, "open_key": None, "finished_at": now}
                release(row, values)
                session.execute(  # one dead letter about a subject says it all
                    delete(BackgroundJob).where(
                        BackgroundJob.subject_key == row.subject_key,
                        BackgroundJob.state == JobState.DEAD.value,
                        BackgroundJob.job_id != row.job_id,
                    )
                )
                return None
            values |= {
                "state": JobState.WAITING.value,
                "not_before": now + timedelta(seconds=delay_s),
                "sent_at": now,
            }
            release(row, values)
            return row.not_before

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None."""
        with Session(self._engine) as session:
            row = session.get(BackgroundJob, job_id)
            return None if row is None else self._rows.job(row)

    def n_running(self, work: Work) -> int:
        """Return how many jobs of this work are running anywhere."""
        query = select(func.count()).where(
            BackgroundJob.state == JobState.RUNNING.value, BackgroundJob.work == work.value
        )
        with Session(self._engine) as session:
            return session.scalar(query) or 0

    def beat(self, worker: str) -> None:
        """Note that a worker lives, and renew the leases of its jobs."""
        now = self._clock.now()
        with Session(self._engine) as session, session.begin():
            row = session.get(WorkerHeartbeat, worker)
            if row is None:
                session.add(WorkerHeartbeat(worker=worker, started_at=now, beat_at=now))
            else:
                row.beat_at = now
            session.execute(
                update(BackgroundJob)
                .where(
                    BackgroundJob.worker == worker, BackgroundJob.state == JobState.RUNNING.value
                )
                .values(lease_until=now + self.lease)
            )

    def recover(self) -> tuple[Job, ...]:
        """Take jobs from workers that fell silent; return every due job whose message is overdue.

        A job whose worker died so often that its attempts are used up is dead: what kills each
        worker must not kill them for ever.
        """
        now = self._clock.now()
        with Session(self._engine) as session, session.begin():
            silent = select(BackgroundJob).where(
                BackgroundJob.state == JobState.RUNNING.value, BackgroundJob.lease_until < now
            )
            for row in session.scalars(silent.with_for_update()):
                take_back(row, now)
            overdue = in_order().where(
                BackgroundJob.state == JobState.WAITING.value,
                BackgroundJob.not_before <= now,
                (BackgroundJob.sent_at.is_(None)) | (BackgroundJob.sent_at < now - RESEND_AFTER),
            )
            rows = list(session.scalars(overdue))
            for row in rows:
                row.sent_at = now
            return tuple(self._rows.job(row) for row in rows)

    def _check_room(self, new: NewJob) -> None:
        query = select(func.count()).where(BackgroundJob.state.in_(_OPEN))
        with Session(self._engine) as session:
            why = why_refused(new.work, n_open=session.scalar(query) or 0, limit=self._limit)
        if why is not None:
            raise CdsError(Reason.QUEUE_FULL, why)

    def _insert(self, new: NewJob, subject: str) -> Job:
        now, job_id = self._clock.now(), secrets.token_hex(16)
        row = BackgroundJob(
            job_id=job_id,
            ehr_id=new.ehr_id,
            kind=new.kind.value,
            state=JobState.WAITING.value,
            work=new.work.value,
            order_priority=new.order_priority and new.order_priority.value,
            rank=rank_of(new.work, new.order_priority),
            subject_key=subject,
            open_key=subject,
            is_once=new.is_once,
            payload=self._rows.payloads.seal(dict(new.payload), job_id),
            attempts=0,
            queued_at=now,
            not_before=now + new.delay,
            sent_at=now,
        )
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            session.add(row)
        return self._rows.job(row)

    def _open_about(self, subject: str) -> Job | None:
        query = select(BackgroundJob).where(BackgroundJob.open_key == subject)
        with Session(self._engine) as session:
            row = session.scalars(query).first()
            return None if row is None else self._rows.job(row)

    def _held(self, session: Session, job: Job, worker: str) -> BackgroundJob | None:
        """Return the row if this worker still holds this very attempt."""
        query = select(BackgroundJob).where(BackgroundJob.job_id == job.job_id).with_for_update()
        row = session.scalars(query).first()
        if row is None or row.state != JobState.RUNNING.value:
            return None
        return row if (row.worker, row.attempts) == (worker, job.attempts) else None

    def _update(self, statement: Any) -> int:  # noqa: ANN401  # update or delete
        with Session(self._engine) as session, session.begin():
            result = session.execute(statement)
            return result.rowcount if isinstance(result, CursorResult) else 0


def _pause(deferral: Deferral) -> timedelta:
    """Return how long to wait; a job that only moves in the queue need not."""
    if deferral.order_priority is not None:
        return deferral.delay
    return max(deferral.delay, SHORTEST_DEFERRAL)
