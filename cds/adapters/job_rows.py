"""Rows of background jobs <-> values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, select

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.job_models import BackgroundJob
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.job import Job, JobKind, JobState, OrderPriority, Work, retry_delay_s


class JobRows:
    """Maps jobs to rows and back; payloads are encrypted."""

    def __init__(self, cipher: FieldCipher) -> None:
        self.payloads = SealedJson(dict[str, str], cipher, "background_job.payload")

    def job(self, row: BackgroundJob) -> Job:
        """Return a row as a value."""
        return Job(
            job_id=row.job_id,
            kind=JobKind(row.kind),
            ehr_id=row.ehr_id,
            state=JobState(row.state),
            work=Work(row.work),
            payload=self.payloads.unseal(row.payload, row.job_id),
            queued_at=row.queued_at,
            not_before=row.not_before,
            attempts=row.attempts,
            order_priority=OrderPriority(row.order_priority) if row.order_priority else None,
            reason=row.reason,
            first_failed_at=row.first_failed_at,
            last_failed_at=row.last_failed_at,
        )


def in_order() -> Select[BackgroundJob]:
    """Return a query for jobs in the order in which they run."""
    return select(BackgroundJob).order_by(
        BackgroundJob.rank.desc(), BackgroundJob.queued_at, BackgroundJob.job_id
    )


def release(row: BackgroundJob, values: dict[str, Any]) -> None:
    """Write values into a row that no worker holds any longer."""
    for name, value in {**values, "worker": None, "lease_until": None}.items():
        setattr(row, name, value)


def take_back(row: BackgroundJob, now: datetime) -> None:
    """Take a job from a worker that fell silent: it waits again, or is dead."""
    values: dict[str, Any] = {
        "reason": "The worker died while it ran this job.",
        "first_failed_at": row.first_failed_at or now,
        "last_failed_at": now,
    }
    if retry_delay_s(row.attempts) is None:
        values |= {"state": JobState.DEAD.value, "open_key": None, "finished_at": now}
    else:
        values |= {"state": JobState.WAITING.value, "not_before": now, "sent_at": None}
    release(row, values)
