"""Table of what has become of each study of the archives."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cds.adapters.sql.models import EHR_ID, HEX_SHA256, Table


class ArchiveStudyRow(Table):
    """One study of a PACS on its way into a collection.

    `study` is the encrypted JSON of its `ArchivedStudy`, None where nothing may be kept of it. The
    number orders the studies by first sight.
    """

    __tablename__ = "archive_study"
    __table_args__ = (
        UniqueConstraint("collection", "study_key"),
        Index("ix_archive_study_due", "collection", "state", "retry_at"),
    )

    archive_study_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    collection: Mapped[str] = mapped_column(String(200))
    study_key: Mapped[str] = mapped_column(HEX_SHA256)
    patient_key: Mapped[str | None] = mapped_column(HEX_SHA256, index=True)
    study: Mapped[bytes | None] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(20))
    n_instances: Mapped[int | None]
    unchanged_since_at: Mapped[datetime | None]
    n_imported_instances: Mapped[int | None]
    n_attempts: Mapped[int]
    last_reason: Mapped[str | None] = mapped_column(String(300))
    retry_at: Mapped[datetime | None]
    claim_token: Mapped[str | None] = mapped_column(String(36))
    claimed_until_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
