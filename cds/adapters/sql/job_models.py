"""Tables of background work: jobs with their dead letters, workers, arrivals, lives of answers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from cds.adapters.sql.models import EHR_ID, HEX_SHA256, Table


class BackgroundJob(Table):
    """One job; `payload` is encrypted JSON, `reason` a sentence free of PHI.

    `open_key` is the keyed hash of what an open job is about: no two open jobs share one. A row in
    the state ``dead`` is a dead letter.
    """

    __tablename__ = "background_job"
    __table_args__ = (
        Index("ix_background_job_state", "state", "rank", "queued_at"),
        Index("ix_background_job_lease", "state", "lease_until"),
    )

    job_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    ehr_id: Mapped[str] = mapped_column(EHR_ID)
    kind: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20))
    work: Mapped[str] = mapped_column(String(20))
    order_priority: Mapped[str | None] = mapped_column(String(20))
    rank: Mapped[int]
    subject_key: Mapped[str] = mapped_column(HEX_SHA256)
    open_key: Mapped[str | None] = mapped_column(HEX_SHA256, unique=True)
    is_once: Mapped[bool]
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    attempts: Mapped[int]
    reason: Mapped[str | None] = mapped_column(String(500))
    worker: Mapped[str | None] = mapped_column(String(100))
    lease_until: Mapped[datetime | None]
    queued_at: Mapped[datetime]
    not_before: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    first_failed_at: Mapped[datetime | None]
    last_failed_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class WorkerHeartbeat(Table):
    """When a worker was last alive."""

    __tablename__ = "worker_heartbeat"

    worker: Mapped[str] = mapped_column(String(100), primary_key=True)
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]


class StudySighting(Table):
    """How an arriving study looked last; the study only as a keyed hash."""

    __tablename__ = "study_sighting"

    ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    study_key: Mapped[str] = mapped_column(HEX_SHA256, primary_key=True)
    n_listed: Mapped[int | None]
    n_instances: Mapped[int | None]
    unchanged_since: Mapped[datetime | None]
    seen_at: Mapped[datetime] = mapped_column(index=True)


class PrecomputeExclusion(Table):
    """A patient whose studies are never analysed before somebody asks; a keyed hash."""

    __tablename__ = "precompute_exclusion"

    ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    patient_key: Mapped[str] = mapped_column(HEX_SHA256, primary_key=True)
    created_at: Mapped[datetime]


class FhirSubscription(Table):
    """A Subscription that may notify us; `secret_hash` is the SHA-256 of its header's value."""

    __tablename__ = "fhir_subscription"

    ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    subscription_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    secret_hash: Mapped[str] = mapped_column(HEX_SHA256)
    created_at: Mapped[datetime]
    last_notified_at: Mapped[datetime | None]


class ResultLife(Table):
    """What happened to an answer after it was computed; `identity` is encrypted JSON.

    `record_hash` is the hash of the inputs without the pictures, `fingerprint` of what the PACS
    held: both equal means that the answer holds without fetching pictures again.
    """

    __tablename__ = "result_life"
    __table_args__ = (
        Index("ix_result_life_record", "ehr_id", "record_hash"),
        Index("ix_result_life_study", "ehr_id", "study_key"),
    )

    ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    report_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    record_hash: Mapped[str] = mapped_column(HEX_SHA256)
    study_key: Mapped[str | None] = mapped_column(HEX_SHA256)
    patient_key: Mapped[str | None] = mapped_column(HEX_SHA256)
    fingerprint: Mapped[str | None] = mapped_column(HEX_SHA256)
    identity: Mapped[bytes | None] = mapped_column(LargeBinary)
    is_precomputed: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(index=True)
    opened_at: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None] = mapped_column(index=True)
    withdrawn_because: Mapped[str | None] = mapped_column(String(20))
    superseded_by: Mapped[str | None] = mapped_column(String(64))


class ResultView(Table):
    """Who was shown an answer first, by which door; `viewer` is encrypted."""

    __tablename__ = "result_view"

    ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    report_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    viewer_key: Mapped[str] = mapped_column(HEX_SHA256, primary_key=True)
    door: Mapped[str] = mapped_column(String(20), primary_key=True)
    viewer: Mapped[bytes] = mapped_column(LargeBinary)
    seen_at: Mapped[datetime]
