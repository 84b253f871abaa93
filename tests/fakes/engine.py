"""An engine without world: it answers what a test has prepared, and remembers what it was asked."""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cds.domain.errors import CdsError, Reason
from cds.domain.job import QueueCounts
from cds.domain.patient import ClinicalContext
from cds.domain.registration import EhrRegistration
from cds.domain.report import CaseReport
from cds.domain.secrecy import SecretText
from cds.domain.source_attributes import SourceAttributeCard
from cds.domain.study import StudyRef
from cds.domain.withdrawal import Withdrawal, WithdrawalReason
from cds.ports import Deadline, FhirAccess
from cds.settings import Settings
from tests.fakes.clock import FixedClock
from tests.fakes.door_memories import (
    FakeAuditTrail,
    FakeHookCalls,
    FakeResultStore,
    FakeSeenTokens,
)


@dataclass(frozen=True)
class FakeHookAnalysis:
    context: ClinicalContext
    study: StudyRef | None = None
    report: CaseReport | None = None
    failure: CdsError | None = None
    is_pending: bool = False


@dataclass(frozen=True)
class FakeTokenClaims:
    scope: str
    client_id: str
    patient_id: str | None
    expires_at: datetime
    subject: str | None = None
    fhir_user: str | None = None


@dataclass(frozen=True)
class FakeReadinessCheck:
    name: str
    ok: bool
    sentence: str


@dataclass(frozen=True)
class FakeSmartEndpoints:
    token_endpoint: str = "https://ehr.example.invalid/token"
    authorization_endpoint: str | None = "https://ehr.example.invalid/authorize"
    introspection_endpoint: str | None = None


@dataclass(frozen=True)
class FakeRegistrations:
    """Implements `cds.ports.Registrations`."""

    known: tuple[EhrRegistration, ...]

    def by_id(self, ehr_id: str) -> EhrRegistration | None:
        return next((r for r in self.known if r.ehr_id == ehr_id), None)

    def by_iss(self, iss: str) -> EhrRegistration | None:
        return next((r for r in self.known if r.fhir_base_url == iss), None)

    def all(self) -> tuple[EhrRegistration, ...]:
        return self.known


class FakeIdentityKeys:
    """Implements `cds.ports.IdentityKeys` with a key that is no secret."""

    def patient_key(self, namespace: str, value: str) -> str:
        return hmac.digest(b"key", f"{namespace}|{value}".encode(), hashlib.sha256).hex()

    def study_key(self, study_instance_uid: str) -> str:
        return self.patient_key("study", study_instance_uid)


@dataclass
class FakeArrivalNotices:
    """Knows one subscription, ``s1`` of EHR_ID, and keeps what it was told."""

    ehr_id: str = "st-brevis"
    secret: str = "secret-of-the-subscription"
    told: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    is_full: bool = False

    def may_notify(self, ehr_id: str, subscription_id: str, secret: str) -> bool:
        return (ehr_id, subscription_id, secret) == (self.ehr_id, "s1", self.secret)

    def notified(self, ehr_id: str, imaging_study_ids: Sequence[str]) -> None:
        if self.is_full:
            raise CdsError(Reason.QUEUE_FULL, "The queue of background jobs is full.")
        self.told.append((ehr_id, tuple(imaging_study_ids)))


@dataclass
class FakeResultViews:
    """Keeps who was shown what."""

    seen: list[tuple[str, str, str, str]] = field(default_factory=list)

    def note_view(self, ehr_id: str, report_id: str, *, viewer: str, door: str) -> None:
        self.seen.append((ehr_id, report_id, viewer, door))


@dataclass
class FakeBackground:
    """Background work without a queue."""

    lives: FakeResultViews = field(default_factory=FakeResultViews)
    told: FakeArrivalNotices = field(default_factory=FakeArrivalNotices)
    queue: QueueCounts = field(default_factory=lambda: QueueCounts(0, 0, 0))
    stalled: str | None = None
    withdrawal: Withdrawal | None = None
    refusal: CdsError | None = None
    looked: list[str] = field(default_factory=list)
    moved: set[str] = field(default_factory=set)

    def notices(self) -> FakeArrivalNotices:
        return self.told

    def looked_at(self, report: CaseReport) -> CaseReport:
        self.looked.append(report.report_id)
        if self.refusal is not None:
            raise self.refusal
        withdrawal = self.withdrawal
        if report.report_id in self.moved:
            withdrawal = Withdrawal(WithdrawalReason.MOVED, report.created_at)
        return replace(report, withdrawn=report.withdrawn or withdrawal)

    def recheck(self, report: CaseReport) -> None:
        self.looked.append(f"later {report.report_id}")

    def counts(self) -> QueueCounts:
        return self.queue

    def why_stalled(self) -> str | None:
        return self.stalled


@dataclass(frozen=True)
class AskedAnalysis:
    """What the engine was asked for a hook."""

    access: FhirAccess
    prefetch: Mapping[str, Any] | None
    remaining_s: float
    as_of: datetime


Analyse = Callable[[AskedAnalysis, Deadline], FakeHookAnalysis]


def _nothing_prepared(_asked: AskedAnalysis, _deadline: Deadline) -> FakeHookAnalysis:
    raise CdsError(Reason.MISSING_CONTEXT, "No analysis was prepared.")


@dataclass
class FakeEngine:
    """Has the surface of `cds.engine.Engine` that the machine doors use.

    `analyse` answers hooks, `tokens` are active access tokens, `key_sets` are what jku URLs serve.
    """

    clock: FixedClock
    registrations: FakeRegistrations
    settings: Settings = field(
        default_factory=lambda: Settings(public_url="https://cds.example.invalid")
    )
    analyse: Analyse = _nothing_prepared
    tokens: dict[str, FakeTokenClaims] = field(default_factory=dict)
    key_sets: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    checks: tuple[FakeReadinessCheck, ...] = (FakeReadinessCheck("database", True, "It answers."),)
    smart_endpoints: FakeSmartEndpoints | None = field(default_factory=FakeSmartEndpoints)
    peers_are_down: bool = False
    audit: FakeAuditTrail = field(default_factory=FakeAuditTrail)
    results: FakeResultStore = field(default_factory=FakeResultStore)
    hook_calls: FakeHookCalls = field(default_factory=FakeHookCalls)
    keys: FakeIdentityKeys = field(default_factory=FakeIdentityKeys)
    background: FakeBackground = field(default_factory=FakeBackground)
    asked: list[AskedAnalysis] = field(default_factory=list)
    fetched_key_sets: list[str] = field(default_factory=list)
    backend_keys: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    card: SourceAttributeCard = field(
        default_factory=lambda: SourceAttributeCard.of_unknown("encoder", "0" * 64)
    )

    def __post_init__(self) -> None:
        self.seen_tokens = FakeSeenTokens(self.clock)

    def analyse_for_hook(
        self,
        access: FhirAccess,
        *,
        prefetch: Mapping[str, Any] | None,
        deadline: Deadline,
        as_of: datetime,
    ) -> FakeHookAnalysis:
        asked = AskedAnalysis(access, prefetch, deadline.remaining_s(), as_of)
        self.asked.append(asked)
        return self.analyse(asked, deadline)

    def source_attributes(self) -> SourceAttributeCard:
        return self.card

    def ready(self) -> tuple[FakeReadinessCheck, ...]:
        return self.checks

    def fhir_token(self, registration: EhrRegistration, token: SecretText) -> FakeTokenClaims:
        self._reach_peer()
        claims = self.tokens.get(token.reveal())
        if claims is None:
            raise CdsError(Reason.NOT_AUTHENTICATED, "The token is not active.")
        return claims

    def key_set(
        self, registration: EhrRegistration, url: str, *, deadline: Deadline
    ) -> Mapping[str, Any]:
        self.fetched_key_sets.append(url)
        self._reach_peer()
        if url not in self.key_sets:
            raise CdsError(Reason.UPSTREAM_FAILED, "The key set answered 404.", status=404)
        return self.key_sets[url]

    def smart_configuration(self, registration: EhrRegistration) -> FakeSmartEndpoints:
        self._reach_peer()
        if self.smart_endpoints is None:
            raise CdsError(Reason.UPSTREAM_FAILED, "The EHR answered 404.", status=404)
        return self.smart_endpoints

    def backend_key_set(self, ehr_id: str) -> Mapping[str, Any]:
        return {"keys": self.backend_keys.get(ehr_id, [])}

    def _reach_peer(self) -> None:
        if self.peers_are_down:
            raise CdsError(Reason.UPSTREAM_FAILED, "The EHR cannot be reached.")
