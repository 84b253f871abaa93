"""Jobs in the database: the truth about them, whatever becomes of the messages that name them.

A message names a job and nothing else. Whoever receives it must claim the row: one worker can, and
holds it on a lease that ends when the worker does. A lost message is sent again, a repeated one
finds nothing to claim.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Select, delete, func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.job_models import BackgroundJob, WorkerHeartbeat
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.errors import CdsError, Reason
from cds.domain.job import (
    Deferral,
    Job,
    JobKind,
    JobState,
    NewJob,
    OrderPriority,
    QueueCounts,
    Work,
    rank_of,
    retry_delay_s,
    why_refused,
)
from cds.ports import Clock, IdentityKeys

LEASE = timedelta(seconds=60)
RESEND_AFTER = timedelta(seconds=60)
DONE_KEPT = timedelta(days=1)
MAX_REASON_CHARACTERS = 500
_OPEN = (JobState.WAITING.value, JobState.RUNNING.value)


class SqlJobLedger:
    """Keeps jobs, their leases, and the dead letters.

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
        self._payloads = SealedJson(dict[str, str], cipher, "background_job.payload")

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
            _release(row, values)
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
                "not_before": now + deferral.delay,
                "sent_at": now,
                "attempts": row.attempts - 1,
                "reason": deferral.reason[:MAX_REASON_CHARACTERS],
            }
            if deferral.order_priority is not None:
                values["order_priority"] = deferral.order_priority.value
                values["rank"] = rank_of(Work(row.work), deferral.order_priority)
            _release(row, values)
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
                _release(row, values)
                return None
            values |= {
                "state": JobState.WAITING.value,
                "not_before": now + timedelta(seconds=delay_s),
                "sent_at": now,
            }
            _release(row, values)
            return row.not_before

    def retry(self, job_id: str) -> Job:
        """Put a dead letter back into the queue, with a new set of attempts.

        Raises
        ------
        CdsError
            NOT_FOUND if there is no such dead letter; INVALID_REQUEST if an open job is about the
            same subject.

        """
        now = self._clock.now()
        try:
            with Session(self._engine) as session, session.begin():
                row = self._dead(session, job_id)
                row.open_key = row.subject_key
                row.state, row.attempts = JobState.WAITING.value, 0
                row.not_before, row.finished_at, row.sent_at = now, None, None
        except IntegrityError:
            raise CdsError(
                Reason.INVALID_REQUEST, "A newer job about the same subject is already waiting."
            ) from None
        return self._known(job_id)

    def drop(self, job_id: str) -> None:
        """Forget a dead letter; NOT_FOUND if there is none with this id."""
        with Session(self._engine) as session, session.begin():
            session.delete(self._dead(session, job_id))

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None."""
        with Session(self._engine) as session:
            row = session.get(BackgroundJob, job_id)
            return None if row is None else self._job(row)

    def list(
        self, *, states: tuple[JobState, ...], ehr_id: str | None = None, limit: int = 100
    ) -> tuple[Job, ...]:
        """Return jobs in the order in which they run."""
        query = _in_order().where(BackgroundJob.state.in_([s.value for s in states])).limit(limit)
        if ehr_id is not None:
            query = query.where(BackgroundJob.ehr_id == ehr_id)
        with Session(self._engine) as session:
            return tuple(self._job(row) for row in session.scalars(query))

    def n_running(self, work: Work) -> int:
        """Return how many jobs of this work are running anywhere."""
        query = select(func.count()).where(
            BackgroundJob.state == JobState.RUNNING.value, BackgroundJob.work == work.value
        )
        with Session(self._engine) as session:
            return session.scalar(query) or 0

    def counts(self) -> QueueCounts:
        """Return how the queue is doing."""
        by_state = select(BackgroundJob.state, func.count()).group_by(BackgroundJob.state)
        oldest = select(func.min(BackgroundJob.queued_at)).where(
            BackgroundJob.state == JobState.WAITING.value,
            BackgroundJob.not_before <= self._clock.now(),
        )
        with Session(self._engine) as session:
            n: dict[str, int] = {row[0]: row[1] for row in session.execute(by_state)}
            return QueueCounts(
                n.get(JobState.WAITING.value, 0),
                n.get(JobState.RUNNING.value, 0),
                n.get(JobState.DEAD.value, 0),
                session.scalar(oldest),
                session.scalar(select(func.max(WorkerHeartbeat.beat_at))),
            )

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
                _take_back(row, now)
            overdue = _in_order().where(
                BackgroundJob.state == JobState.WAITING.value,
                BackgroundJob.not_before <= now,
                (BackgroundJob.sent_at.is_(None)) | (BackgroundJob.sent_at < now - RESEND_AFTER),
            )
            rows = list(session.scalars(overdue))
            for row in rows:
                row.sent_at = now
            return tuple(self._job(row) for row in rows)

    def purge(self) -> int:
        """Forget jobs that were done a while ago, and workers that are gone; dead letters stay."""
        before = self._clock.now() - DONE_KEPT
        with Session(self._engine) as session, session.begin():
            session.execute(delete(WorkerHeartbeat).where(WorkerHeartbeat.beat_at < before))
        return self._update(
            delete(BackgroundJob).where(
                BackgroundJob.state == JobState.DONE.value, BackgroundJob.finished_at < before
            )
        )

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
            payload=self._payloads.seal(dict(new.payload), job_id),
            attempts=0,
            queued_at=now,
            not_before=now + new.delay,
            sent_at=now,
        )
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            session.add(row)
        return self._job(row)

    def _open_about(self, subject: str) -> Job | None:
        query = select(BackgroundJob).where(BackgroundJob.open_key == subject)
        with Session(self._engine) as session:
            row = session.scalars(query).first()
            return None if row is None else self._job(row)

    def _held(self, session: Session, job: Job, worker: str) -> BackgroundJob | None:
        """Return the row if this worker still holds this very attempt."""
        query = select(BackgroundJob).where(BackgroundJob.job_id == job.job_id).with_for_update()
        row = session.scalars(query).first()
        if row is None or row.state != JobState.RUNNING.value:
            return None
        return row if (row.worker, row.attempts) == (worker, job.attempts) else None

    def _dead(self, session: Session, job_id: str) -> BackgroundJob:
        row = session.get(BackgroundJob, job_id)
        if row is None or row.state != JobState.DEAD.value:
            raise CdsError(Reason.NOT_FOUND, "There is no dead letter with this id.")
        return row

    def _known(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job is None:
            raise CdsError(Reason.NOT_FOUND, "There is no job with this id.")
        return job

    def _update(self, statement: Any) -> int:  # noqa: ANN401  # update or delete
        with Session(self._engine) as session, session.begin():
            result = session.execute(statement)
            return result.rowcount if isinstance(result, CursorResult) else 0

    def _job(self, row: BackgroundJob) -> Job:
        return Job(
            job_id=row.job_id,
            kind=JobKind(row.kind),
            ehr_id=row.ehr_id,
            state=JobState(row.state),
            work=Work(row.work),
            payload=self._payloads.unseal(row.payload, row.job_id),
            queued_at=row.queued_at,
            not_before=row.not_before,
            attempts=row.attempts,
            order_priority=OrderPriority(row.order_priority) if row.order_priority else None,
            reason=row.reason,
            first_failed_at=row.first_failed_at,
            last_failed_at=row.last_failed_at,
        )


def _in_order() -> Select[BackgroundJob]:
    return select(BackgroundJob).order_by(
        BackgroundJob.rank.desc(), BackgroundJob.queued_at, BackgroundJob.job_id
    )


def _release(row: BackgroundJob, values: dict[str, Any]) -> None:
    for name, value in {**values, "worker": None, "lease_until": None}.items():
        setattr(row, name, value)


def _take_back(row: BackgroundJob, now: datetime) -> None:
    values: dict[str, Any] = {
        "reason": "The worker died while it ran this job.",
        "first_failed_at": row.first_failed_at or now,
        "last_failed_at": now,
    }
    if retry_delay_s(row.attempts) is None:
        values |= {"state": JobState.DEAD.value, "open_key": None, "finished_at": now}
    else:
        values |= {"state": JobState.WAITING.value, "not_before": now, "sent_at": None}
    _release(row, values)
