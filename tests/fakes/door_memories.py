"""In-memory twins of what the doors remember; tests/contract runs them beside the SQL adapters."""

from copy import deepcopy
from datetime import datetime
from threading import Lock
from typing import Any

from cds.domain.report import CaseReport
from cds.ports import AuditEvent
from tests.fakes.clock import FixedClock


class FakeHookCalls:
    """Implements `cds.web.hook_calls.HookCalls`."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.silence_rows: list[int] = []
        self._shown: set[tuple[str, str, str]] = set()

    def answer_for(
        self, ehr_id: str, cds_service: str, hook_instance: str
    ) -> dict[str, Any] | None:
        return deepcopy(self._answers.get((ehr_id, cds_service, hook_instance)))

    def save(
        self,
        ehr_id: str,
        cds_service: str,
        hook_instance: str,
        *,
        answer: dict[str, Any],
        silence_row: int,
    ) -> None:
        place = (ehr_id, cds_service, hook_instance)
        if place not in self._answers:
            self._answers[place] = deepcopy(answer)
            self.silence_rows.append(silence_row)

    def was_shown(self, ehr_id: str, user_key: str, analysis_key: str) -> bool:
        return (ehr_id, user_key, analysis_key) in self._shown

    def mark_shown(
        self, ehr_id: str, user_key: str, analysis_key: str, *, silence_row: int
    ) -> None:
        self._shown.add((ehr_id, user_key, analysis_key))

    @property
    def everything(self) -> str:
        return repr(self._answers) + repr(self._shown)


class FakeSeenTokens:
    """Implements `cds.web.seen_tokens.SeenTokens`."""

    def __init__(self, clock: FixedClock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._seen: dict[tuple[str, str, str], datetime] = {}

    def accept_once(self, ehr_id: str, issuer: str, jti: str, *, expires_at: datetime) -> bool:
        with self._lock:
            expiry = self._seen.get((ehr_id, issuer, jti))
            if expiry is not None and expiry >= self._clock.now():
                return False
            self._seen[ehr_id, issuer, jti] = expires_at
            return True


class FakeAuditTrail:
    """Implements `cds.ports.AuditTrail`."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)


class FakeResultStore:
    """Implements `cds.ports.ResultStore`."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str], CaseReport] = {}

    def save(self, report: CaseReport, *, requested_by: str) -> None:
        self._reports.setdefault((report.ehr_id, report.report_id), report)

    def by_id(self, ehr_id: str, report_id: str) -> CaseReport | None:
        return self._reports.get((ehr_id, report_id))

    def by_input_hash(self, ehr_id: str, input_hash: str) -> CaseReport | None:
        return next((r for r in self._of(ehr_id) if r.input_hash == input_hash), None)

    def by_patient(self, ehr_id: str, patient_id: str) -> tuple[CaseReport, ...]:
        return tuple(r for r in self._of(ehr_id) if r.patient_id == patient_id)

    def _of(self, ehr_id: str) -> list[CaseReport]:
        mine = [r for (ehr, _), r in self._reports.items() if ehr == ehr_id]
        return sorted(mine, key=lambda report: report.created_at, reverse=True)
