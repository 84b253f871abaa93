"""Tables of what was erased from the library, and of what must not come back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from cds.adapters.sql.models import EHR_ID, HEX_SHA256, Table


class ErasureRow(Table):
    """One erasure; `plan`, `receipt` and `approver` are encrypted, `patient_key` is a keyed hash.

    `plan` is the JSON of what is to go, NULL once it is done; `receipt` the JSON of the proof.
    """

    __tablename__ = "erasure"

    erasure_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    patient_key: Mapped[str] = mapped_column(HEX_SHA256, index=True)
    reason: Mapped[str] = mapped_column(String(20))
    approver: Mapped[bytes] = mapped_column(LargeBinary)
    step: Mapped[str] = mapped_column(String(30))
    plan: Mapped[bytes | None] = mapped_column(LargeBinary)
    receipt: Mapped[bytes | None] = mapped_column(LargeBinary)
    begun_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class ErasureTombstone(Table):
    """That a patient or a source file was erased: an import refuses what has this keyed hash."""

    __tablename__ = "erasure_tombstone"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    key: Mapped[str] = mapped_column(HEX_SHA256, primary_key=True)
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    erased_at: Mapped[datetime]
