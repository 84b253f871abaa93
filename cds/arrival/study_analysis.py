"""The job `analyse-study`: one arrived study, analysed with our own token before anyone asks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from cds.analysis import Analyst, HookAnalysis
from cds.arrival.ports import ArrivalMemory
from cds.arrival_ports import RecordLookup, ResultLives, StudyInventories
from cds.domain.arrival import (
    ArrivedStudy,
    Candidate,
    StudyInventory,
    why_not_analysed,
    why_protected,
)
from cds.domain.completeness import Completeness, CompletenessRule
from cds.domain.errors import CdsError, Reason
from cds.domain.job import Deferral, Job, JobKind, NewJob, OrderPriority, Work
from cds.domain.launch import StudyHint
from cds.domain.registration import EhrRegistration
from cds.domain.report import AnswerState
from cds.domain.study import StudyRef
from cds.domain.time_limit import TimeLimit
from cds.domain.withdrawal import ResultBinding
from cds.ports import (
    AuditEvent,
    AuditTrail,
    BackendTokens,
    Clock,
    Deadline,
    FhirAccess,
    IdentityKeys,
    Registrations,
)

SCOPE = " ".join(
    f"system/{resource}.rs"
    for resource in (
        *("Patient", "ImagingStudy", "Endpoint", "Observation", "Condition"),
        *("DiagnosticReport", "ServiceRequest"),
    )
)
STUDY_LIMIT_S = 120.0  # nobody waits; a slow archive gets its time
PATIENCE_S = 3600.0  # a count that stands still and yet differs is a matter for a person
IGNORED_STATUSES = frozenset({"entered-in-error", "cancelled"})
# A later attempt may fare better; other failures are an answer: not assessed, and why.
_TRANSIENT = frozenset(
    {
        Reason.UPSTREAM_FAILED,
        Reason.UPSTREAM_REFUSED,
        Reason.DEADLINE,
        Reason.MODEL_UNAVAILABLE,
        Reason.INDEX_UNAVAILABLE,
    }
)


@dataclass(frozen=True, slots=True)
class ArrivalPorts:
    """What analysing arrivals needs from outside."""

    registrations: Registrations
    tokens: BackendTokens
    lookup: RecordLookup
    inventories: StudyInventories
    memory: ArrivalMemory
    lives: ResultLives
    audit: AuditTrail
    keys: IdentityKeys
    clock: Clock


@dataclass(frozen=True, slots=True, repr=False)
class StudyRequest:
    """Which study is meant, in one of four ways; `is_asked_for` by a person, not by an arrival."""

    study_instance_uid: str | None = None
    accession_number: str | None = None
    imaging_study_id: str | None = None
    is_asked_for: bool = False

    def job(self, ehr_id: str, work: Work = Work.ARRIVAL) -> NewJob:
        """Return the job that analyses this study."""
        payload = {
            "study_instance_uid": self.study_instance_uid,
            "accession_number": self.accession_number,
            "imaging_study_id": self.imaging_study_id,
            "is_asked_for": "yes" if self.is_asked_for else None,
        }
        named = {name: value for name, value in payload.items() if value is not None}
        subject = self.study_instance_uid or self.imaging_study_id or self.accession_number
        return NewJob(JobKind.ANALYSE_STUDY, ehr_id, f"study:{subject}", named, work)

    @classmethod
    def of(cls, job: Job) -> StudyRequest:
        """Return what a job asks for."""
        named = dict(job.payload)
        return cls(is_asked_for=named.pop("is_asked_for", None) == "yes", **named)

    def __repr__(self) -> str:
        return "StudyRequest(<redacted>)"


@dataclass(frozen=True, slots=True)
class ArrivalOutcome:
    """What became of a request: an analysis, a sentence why there is none, or a wait."""

    analysis: HookAnalysis | None = None
    passed_over: str | None = None
    deferral: Deferral | None = None


class ArrivalAnalysis:
    """Analyses studies that arrive."""

    def __init__(self, ports: ArrivalPorts, analyst: Analyst) -> None:
        self._ports = ports
        self._analyst = analyst

    def run(self, job: Job) -> Deferral | None:
        """Handle a job.

        Raises
        ------
        CdsError
            As `analyse`.

        """
        registration = registered(self._ports.registrations, job.ehr_id)
        outcome = self.analyse(registration, StudyRequest.of(job), job)
        return outcome.deferral

    def newest_of(self, registration: EhrRegistration, patient_id: str) -> StudyRequest:
        """Return the newest study of a supported kind of a patient, as a person asks for it.

        Raises
        ------
        CdsError
            NO_IMAGING if there is none; NOT_AUTHORIZED if the patient is protected; what the ports
            raise.

        """
        deadline, rules = TimeLimit(STUDY_LIMIT_S), registration.arrival
        is_listed = self._ports.memory.is_excluded(registration.ehr_id, patient_id)
        protected = why_protected(rules, Candidate((), (), is_on_site_list=is_listed))
        if protected is not None:
            raise CdsError(Reason.NOT_AUTHORIZED, protected)
        token = self._ports.tokens.access_token(registration, scope=SCOPE, deadline=deadline)
        access = FhirAccess(registration, token, patient_id)
        study = self._analyst.newest_study(access, deadline=deadline)
        if study is None:
            raise CdsError(Reason.NO_IMAGING, "The patient has no recent study of a kind compared.")
        return StudyRequest(
            study.study_instance_uid,
            study.accession_number,
            study.imaging_study_id,
            is_asked_for=True,
        )

    def analyse(
        self, registration: EhrRegistration, request: StudyRequest, job: Job | None = None
    ) -> ArrivalOutcome:
        """Analyse a study, unless it is protected, not enrolled or still arriving.

        Raises
        ------
        CdsError
            INVALID_CONFIGURATION without credentials of our own; NO_IMAGING if the record or the
            PACS does not know the study; what the ports raise; a failure of the analysis that a
            later attempt may mend.

        """
        deadline, rules = TimeLimit(STUDY_LIMIT_S), registration.arrival
        barred = _why_barred(registration, request)
        if barred is not None:
            return self._passed_over(registration, None, barred)
        token = self._ports.tokens.access_token(registration, scope=SCOPE, deadline=deadline)
        access = FhirAccess(registration, token, "")
        record = self._record(access, request, deadline)
        candidate = self._candidate(registration, record, request)
        why_not = _why_not_valid(record) or why_protected(rules, candidate)
        if why_not is not None:
            return self._passed_over(registration, record, why_not)
        if job is not None and _is_urgent_unknown(job, record):
            urgent = Deferral(timedelta(0), "The order is urgent.", record.order_priority)
            return ArrivalOutcome(deferral=urgent)
        access = replace(access, patient_id=record.patient_id)
        inventory = self._inventory(access, record, request, deadline)
        why_not = why_not_analysed(rules, _with_inventory(candidate, inventory))
        if why_not is not None:
            return self._passed_over(registration, record, why_not)
        waiting = self._wait(registration, record, inventory)
        if waiting is not None:
            return ArrivalOutcome(deferral=waiting)
        return self._analysed(access, record, inventory, deadline)

    def _analysed(
        self,
        access: FhirAccess,
        record: ArrivedStudy,
        inventory: StudyInventory,
        deadline: Deadline,
    ) -> ArrivalOutcome:
        hint = StudyHint(
            inventory.identity.study_instance_uid, imaging_study_id=record.imaging_study_id
        )
        analysis = self._analyst.for_arrival(access, hint=hint, deadline=deadline)
        failure, report = analysis.failure, analysis.report
        if report is not None and report.state is AnswerState.NOT_ASSESSED:
            self._ports.lives.bind(report, ResultBinding("", is_precomputed=True))
        outcome = "success" if failure is None else failure.reason.value
        entity = None if report is None else report.report_id
        self._audit(access.registration, record, "arrival.analysed", outcome, entity)
        if failure is not None and failure.reason in _TRANSIENT:
            raise failure
        return ArrivalOutcome(analysis=analysis)

    def _record(
        self, access: FhirAccess, request: StudyRequest, deadline: Deadline
    ) -> ArrivedStudy:
        study = StudyRef(
            study_instance_uid=request.study_instance_uid,
            accession_number=request.accession_number or (request.imaging_study_id and "-"),
            imaging_study_id=request.imaging_study_id,
        )
        record = self._ports.lookup.arrived_study(access, study, deadline)
        if record is None:
            raise CdsError(Reason.NO_IMAGING, "The record does not list the study that arrived.")
        return record

    def _candidate(
        self, registration: EhrRegistration, record: ArrivedStudy, request: StudyRequest
    ) -> Candidate:
        return Candidate(
            record.modalities,
            record.locations,
            record.security_labels,
            self._ports.memory.is_excluded(registration.ehr_id, record.patient_id),
            is_asked_for=request.is_asked_for,
        )

    def _inventory(
        self,
        access: FhirAccess,
        record: ArrivedStudy,
        request: StudyRequest,
        deadline: Deadline,
    ) -> StudyInventory:
        study = StudyRef(
            study_instance_uid=record.study_instance_uid or request.study_instance_uid,
            accession_number=request.accession_number or "-",
        )
        return self._ports.inventories.inventory(
            access, study, patient_id_value=None, deadline=deadline
        )

    def _wait(
        self, registration: EhrRegistration, record: ArrivedStudy, inventory: StudyInventory
    ) -> Deferral | None:
        """Return until when to wait for a study, None if it is complete.

        Raises
        ------
        CdsError
            NO_IMAGING if its number of pictures has long differed from what was announced.

        """
        now, uid = self._ports.clock.now(), inventory.identity.study_instance_uid or ""
        stable_s = float(registration.arrival.complete_after_s)
        rule = CompletenessRule(stable_s, max(stable_s, PATIENCE_S))
        count = self._ports.memory.count(registration.ehr_id, uid, len(inventory.instances))
        verdict = rule.verdict(count, stated=(inventory.n_stated, record.n_instances), now=now)
        if verdict.completeness is Completeness.DISAGREES:
            raise CdsError(
                Reason.NO_IMAGING,
                "The study is not complete: the archive holds another number of pictures than "
                "was announced.",
            )
        if verdict.again_at is None:
            return None
        return Deferral(verdict.again_at - now, "The study is still arriving.")

    def _passed_over(
        self, registration: EhrRegistration, record: ArrivedStudy | None, why: str
    ) -> ArrivalOutcome:
        self._audit(registration, record, "arrival.passed-over", "success", None, why)
        return ArrivalOutcome(passed_over=why)

    def _audit(
        self,
        registration: EhrRegistration,
        record: ArrivedStudy | None,
        action: str,
        outcome: str,
        entity: str | None,
        detail: str | None = None,
    ) -> None:
        ehr_id = registration.ehr_id
        key = None if record is None else self._ports.keys.patient_key(ehr_id, record.patient_id)
        self._ports.audit.record(
            AuditEvent(ehr_id, action, outcome, patient_key=key, entity=entity, detail=detail)
        )


def registered(registrations: Registrations, ehr_id: str) -> EhrRegistration:
    """Return an EHR's registration; INVALID_REQUEST if there is none (any more)."""
    found = registrations.by_id(ehr_id)
    if found is None:
        raise CdsError(Reason.INVALID_REQUEST, f"No EHR {ehr_id} is registered.")
    return found


def _why_barred(registration: EhrRegistration, request: StudyRequest) -> str | None:
    """Return why nothing may even be asked, or None."""
    rules = registration.arrival
    barred = why_protected(rules, Candidate((), ()))
    if barred is None and not (rules.is_enrolled or request.is_asked_for):
        return why_not_analysed(rules, Candidate((), ()))
    return barred


def _why_not_valid(record: ArrivedStudy) -> str | None:
    if record.status in IGNORED_STATUSES:
        return "The record marks the study as cancelled or entered in error."
    if record.replaced_by is not None:
        return "The record of the study's patient was merged into another."
    return None


def _with_inventory(candidate: Candidate, inventory: StudyInventory) -> Candidate:
    return replace(
        candidate,
        modalities=candidate.modalities or inventory.modalities,
        locations=(*candidate.locations, *inventory.locations),
    )


def _is_urgent_unknown(job: Job, record: ArrivedStudy) -> bool:
    """Tell whether the job should move up in the queue before it is run."""
    is_urgent = record.order_priority not in {None, OrderPriority.ROUTINE}
    return job.order_priority is None and is_urgent
