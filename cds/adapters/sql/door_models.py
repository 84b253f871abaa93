"""Tables of what was asked and answered: results, hook calls, sessions, audit."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from cds.adapters.sql.models import EHR_ID, HEX_SHA256, Table


class AnalysisResult(Table):
    """One finished answer; `report` is the encrypted JSON of its `CaseReport`."""

    __tablename__ = "analysis_result"
    __table_args__ = (
        Index("ix_analysis_result_inputs", "ehr_id", "input_hash", "created_at"),
        Index("ix_analysis_result_patient", "ehr_id", "patient_key", "created_at"),
    )

    ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    report_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    patient_key: Mapped[str | None] = mapped_column(HEX_SHA256)
    study_key: Mapped[str | None] = mapped_column(HEX_SHA256)
    input_hash: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(30))
    report: Mapped[bytes] = mapped_column(LargeBinary)
    requested_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]


class HookCall(Table):
    """One CDS Hooks call, for idempotence; `answer` is encrypted JSON."""

    __tablename__ = "hook_call"

    ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    cds_service: Mapped[str] = mapped_column(String(100), primary_key=True)
    hook_instance: Mapped[str] = mapped_column(String(100), primary_key=True)
    answer: Mapped[bytes] = mapped_column(LargeBinary)
    silence_row: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(index=True)


class CardShown(Table):
    """That a user was shown a card about an analysis once, by which row of the silence table."""

    __tablename__ = "card_shown"

    ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    user_key: Mapped[str] = mapped_column(HEX_SHA256, primary_key=True)
    analysis_key: Mapped[str] = mapped_column(String(100), primary_key=True)
    silence_row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    shown_at: Mapped[datetime]


class AuditEventRow(Table):
    """One thing that happened; patients only as keyed hashes."""

    __tablename__ = "audit_event"
    __table_args__ = (Index("ix_audit_event_ehr_id_at", "ehr_id", "at"),)

    audit_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    ehr_id: Mapped[str] = mapped_column(EHR_ID)
    action: Mapped[str] = mapped_column(String(80))
    outcome: Mapped[str] = mapped_column(String(40))
    who: Mapped[str | None] = mapped_column(String(300))
    patient_key: Mapped[str | None] = mapped_column(HEX_SHA256)
    entity: Mapped[str | None] = mapped_column(String(300))
    detail: Mapped[str | None] = mapped_column(String(1000))


class SmartSession(Table):
    """A clinician's session, by the hash of its opaque id; `payload` is encrypted JSON."""

    __tablename__ = "smart_session"

    session_hash: Mapped[str] = mapped_column(HEX_SHA256, primary_key=True)
    ehr_id: Mapped[str] = mapped_column(EHR_ID, index=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    last_used_at: Mapped[datetime]


class LaunchState(Table):
    """A SMART launch under way, by the hash of its single-use state; `payload` is encrypted."""

    __tablename__ = "launch_state"

    state_hash: Mapped[str] = mapped_column(HEX_SHA256, primary_key=True)
    ehr_id: Mapped[str] = mapped_column(EHR_ID)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class SeenJti(Table):
    """A JWT that was accepted once, until it expires."""

    __tablename__ = "seen_jti"

    issuer: Mapped[str] = mapped_column(String(300), primary_key=True)
    jti_hash: Mapped[str] = mapped_column(HEX_SHA256, primary_key=True)
    ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    expires_at: Mapped[datetime] = mapped_column(index=True)
