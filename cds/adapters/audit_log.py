"""The audit trail in the database."""

from __future__ import annotations

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from cds.adapters.sql.door_models import AuditEventRow
from cds.ports import AuditEvent, Clock

_MAX_DETAIL = 1000
_MAX_WHO = 300


class SqlAuditTrail:
    """Appends events; implements `cds.ports.AuditTrail`. It only ever adds."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def record(self, event: AuditEvent) -> None:
        """Append one event with the time."""
        row = AuditEventRow(
            at=self._clock.now(),
            ehr_id=event.ehr_id,
            action=event.action,
            outcome=event.outcome,
            who=_cut(event.who, _MAX_WHO),
            patient_key=event.patient_key,
            entity=_cut(event.entity, _MAX_WHO),
            detail=_cut(event.detail, _MAX_DETAIL),
        )
        with Session(self._engine) as session, session.begin():
            session.add(row)

    def newest(self, ehr_id: str, *, limit: int = 100) -> tuple[AuditEvent, ...]:
        """Return the newest events of one EHR, newest first."""
        query = (
            select(AuditEventRow)
            .where(AuditEventRow.ehr_id == ehr_id)
            .order_by(AuditEventRow.audit_id.desc())
            .limit(limit)
        )
        with Session(self._engine) as session:
            return tuple(_event(row) for row in session.scalars(query))


def _event(row: AuditEventRow) -> AuditEvent:
    return AuditEvent(
        ehr_id=row.ehr_id,
        action=row.action,
        outcome=row.outcome,
        who=row.who,
        patient_key=row.patient_key,
        entity=row.entity,
        detail=row.detail,
    )


def _cut(text: str | None, length: int) -> str | None:
    return None if text is None else text.replace("\x00", "")[:length]  # PostgreSQL has no NUL
