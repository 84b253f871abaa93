"""What a person does with the queue: look at it, retry or drop dead letters, clean up."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.job_rows import JobRows, in_order
from cds.adapters.sql.job_models import BackgroundJob, WorkerHeartbeat
from cds.domain.errors import CdsError, Reason
from cds.domain.job import Job, JobState, QueueCounts
from cds.ports import Clock

DONE_KEPT = timedelta(days=1)


class SqlJobDesk:
    """Shows the queue and its dead letters."""

    def __init__(self, engine: Engine, rows: JobRows, clock: Clock) -> None:
        self._engine = engine
        self._rows = rows
        self._clock = clock

    def list(
        self, *, states: tuple[JobState, ...], ehr_id: str | None = None, limit: int = 100
    ) -> tuple[Job, ...]:
        """Return jobs in the order in which they run."""
        query = in_order().where(BackgroundJob.state.in_([s.value for s in states])).limit(limit)
        if ehr_id is not None:
            query = query.where(BackgroundJob.ehr_id == ehr_id)
        with Session(self._engine) as session:
            return tuple(self._rows.job(row) for row in session.scalars(query))

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
                row.not_before, row.finished_at, row.sent_at = now, None, now
                session.flush()
                return self._rows.job(row)
        except IntegrityError:
            raise CdsError(
                Reason.INVALID_REQUEST, "A newer job about the same subject is already waiting."
            ) from None

    def drop(self, job_id: str) -> None:
        """Forget a dead letter; NOT_FOUND if there is none with this id."""
        with Session(self._engine) as session, session.begin():
            session.delete(self._dead(session, job_id))

    def purge(self) -> int:
        """Forget jobs that were done a while ago, and workers that are gone; dead letters stay."""
        before = self._clock.now() - DONE_KEPT
        with Session(self._engine) as session, session.begin():
            session.execute(delete(WorkerHeartbeat).where(WorkerHeartbeat.beat_at < before))
            done = delete(BackgroundJob).where(
                BackgroundJob.state == JobState.DONE.value, BackgroundJob.finished_at < before
            )
            result = session.execute(done)
            return result.rowcount if isinstance(result, CursorResult) else 0

    def _dead(self, session: Session, job_id: str) -> BackgroundJob:
        row = session.get(BackgroundJob, job_id)
        if row is None or row.state != JobState.DEAD.value:
            raise CdsError(Reason.NOT_FOUND, "There is no dead letter with this id.")
        return row
