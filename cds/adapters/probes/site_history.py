"""What this installation has already seen of an EHR, and what its library holds: counts only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Engine, func, or_, select
from sqlalchemy.orm import Session

from cds.adapters.sql.door_models import AuditEventRow, HookCall
from cds.adapters.sql.models import CaseFindingRow, LibraryCaseRow

HOOK_ANSWERED, HOOK_REFUSED = "hook.answered", "hook.refused"
LOGIN, LAUNCH_REFUSED = "login", "launch.refused"
N_NEWEST = 200  # events of each kind that are looked at: what holds now, not in an older release
_MS = re.compile(r"\bms=(\d{1,7})\b")


@dataclass(frozen=True, slots=True)
class SiteHistory:
    """Counts of one EHR.

    Attributes
    ----------
    n_hook_calls, last_hook_call_at
        Hook calls that were answered: each carried a JWT that was verified.
    n_hook_refusals
        Reason -> calls of a known client that were refused; ``missing-context`` means that the EHR
        sent neither prefetch nor a token that reads (CLINICAL 2.3).
    n_patients
        Distinct past patients that an answer for this EHR may count.
    n_patients_by_diagnosis
        Display -> distinct patients, most first.
    hook_ms
        How long the newest answers took inside, from the JWT's check to the cards; ms.
    launches
        What the newest sign-ins say -> how many: ``study=app-context``, ``study=fhir-context``,
        ``study=none``; ``frame=yes`` among them, and ``refused frame=yes`` where the browser kept
        the cookie back in a frame.

    """

    n_hook_calls: int = 0
    last_hook_call_at: datetime | None = None
    n_patients: int = 0
    n_patients_by_diagnosis: Mapping[str, int] | None = None
    n_hook_refusals: Mapping[str, int] = field(default_factory=dict)
    hook_ms: tuple[int, ...] = ()
    launches: Mapping[str, int] = field(default_factory=dict)


def site_history(engine: Engine, ehr_id: str) -> SiteHistory:
    """Count what there is for an EHR; nothing is decrypted."""
    is_eligible = or_(LibraryCaseRow.owner_ehr_id.is_(None), LibraryCaseRow.owner_ehr_id == ehr_id)
    n_patients = func.count(func.distinct(LibraryCaseRow.patient_key))
    by_diagnosis = (
        select(CaseFindingRow.display, n_patients)
        .join(LibraryCaseRow, LibraryCaseRow.case_id == CaseFindingRow.case_id)
        .where(is_eligible, CaseFindingRow.is_diagnosis)
        .group_by(CaseFindingRow.display)
        .order_by(n_patients.desc(), CaseFindingRow.display)
    )
    calls = select(func.count(), func.max(HookCall.created_at)).where(HookCall.ehr_id == ehr_id)
    refusals = (
        select(AuditEventRow.outcome, func.count())
        .where(AuditEventRow.ehr_id == ehr_id, AuditEventRow.action == HOOK_REFUSED)
        .group_by(AuditEventRow.outcome)
        .order_by(func.count().desc())
    )
    with Session(engine) as session:
        n_calls, last = session.execute(calls).one()
        total = session.scalar(select(n_patients).where(is_eligible))
        diagnoses = {str(name): int(n) for name, n in session.execute(by_diagnosis)}
        refused = {str(reason): int(n) for reason, n in session.execute(refusals)}
        answered = _newest_details(session, ehr_id, HOOK_ANSWERED)
        signed_in = _newest_details(session, ehr_id, LOGIN)
        turned_away = _newest_details(session, ehr_id, LAUNCH_REFUSED)
    launches = Counter(part for detail in signed_in for part in detail.split())
    launches.update(f"refused {part}" for detail in turned_away for part in detail.split())
    hook_ms = tuple(int(found[1]) for detail in answered if (found := _MS.search(detail)))
    return SiteHistory(
        int(n_calls), last, int(total or 0), diagnoses, refused, hook_ms, dict(launches)
    )


def _newest_details(session: Session, ehr_id: str, action: str) -> list[str]:
    query = (
        select(AuditEventRow.detail)
        .where(
            AuditEventRow.ehr_id == ehr_id,
            AuditEventRow.action == action,
            AuditEventRow.detail.is_not(None),
        )
        .order_by(AuditEventRow.audit_id.desc())
        .limit(N_NEWEST)
    )
    return [detail for detail in session.scalars(query) if detail]
