"""The jobs `recheck-result` and `sweep-results`: do kept answers still hold (CLINICAL 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cds.arrival.ports import SweepableLives
from cds.arrival.study_analysis import (
    IGNORED_STATUSES,
    SCOPE,
    STUDY_LIMIT_S,
    registered,
)
from cds.arrival_ports import RecordLookup, StudyInventories
from cds.domain.errors import CdsError, Reason
from cds.domain.job import Deferral, Job, JobKind, NewJob, Work
from cds.domain.registration import EhrRegistration
from cds.domain.report import CaseReport
from cds.domain.secrecy import SecretText
from cds.domain.study import StudyRef
from cds.domain.time_limit import TimeLimit
from cds.domain.withdrawal import WithdrawalReason
from cds.kept_answers import KeptAnswerPorts, moved_or, withdraw
from cds.ports import BackendTokens, Deadline, FhirAccess, JobQueue, Registrations, ResultStore

SWEEP_BACK = timedelta(days=30)
SWEEP_PAUSE = timedelta(minutes=1)
LOOK_AGAIN = timedelta(minutes=10)
NOT_FOUND_ONCE = "The study was not found; it is looked for once more."
FRESH = timedelta(minutes=1)  # an answer that was looked at so recently is not looked at again


@dataclass(frozen=True, slots=True)
class RecheckPorts:
    """What rechecks need from outside."""

    registrations: Registrations
    results: ResultStore
    lives: SweepableLives
    tokens: BackendTokens
    lookup: RecordLookup
    inventories: StudyInventories
    queue: JobQueue
    kept: KeptAnswerPorts


class Rechecks:
    """Looks at kept answers again, with our own account at the PACS and our own token."""

    def __init__(self, ports: RecheckPorts) -> None:
        self._ports = ports

    def sweep(self, job: Job) -> Deferral | None:
        """Queue a look at each answer of an EHR that was not looked at since the sweep began."""
        now = self._ports.kept.clock.now()
        due = self._ports.lives.standing(
            job.ehr_id, since=now - SWEEP_BACK, checked_before=job.queued_at
        )
        for report_id in due:
            try:
                self._ports.queue.submit(recheck_job(job.ehr_id, report_id, Work.BULK))
            except CdsError as error:
                if error.reason is Reason.QUEUE_FULL:
                    return Deferral(SWEEP_PAUSE, "The sweep waits until the queue has room.")
                raise
        return None

    def recheck(self, job: Job) -> Deferral | None:
        """Withdraw an answer that no longer holds.

        A study that is not found is looked for twice: an archive whose index is being rebuilt must
        not withdraw every answer.

        Raises
        ------
        CdsError
            What the ports raise: nothing is concluded from an archive or record that is down.

        """
        registration = registered(self._ports.registrations, job.ehr_id)
        report = self._ports.results.by_id(job.ehr_id, job.payload["report_id"])
        if report is None or report.study is None or report.withdrawn is not None:
            return None
        deadline = TimeLimit(STUDY_LIMIT_S)
        reason = self.why_withdrawn(registration, report, deadline)
        if reason is None:
            self._ports.lives.mark_checked(report)
        elif reason is WithdrawalReason.VANISHED and job.reason != NOT_FOUND_ONCE:
            return Deferral(LOOK_AGAIN, NOT_FOUND_ONCE)
        else:
            withdraw(self._ports.kept, report, reason)
        return None

    def looked_at(self, report: CaseReport, *, deadline: Deadline) -> CaseReport:
        """Return an answer as it stands now, after a look at archive and record.

        What cannot be looked at with our own rights is returned as it is kept.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED or DEADLINE: what cannot be confirmed now is not served (ADR 0002).

        """
        registration = registered(self._ports.registrations, report.ehr_id)
        if report.withdrawn is not None or self._ports.lives.is_fresh(report, within=FRESH):
            return report
        try:
            reason = self.why_withdrawn(registration, report, deadline)
        except CdsError as error:
            if error.reason in {Reason.UPSTREAM_FAILED, Reason.DEADLINE}:
                raise
            return report
        if reason is None:
            self._ports.lives.mark_checked(report)
            return report
        if reason is WithdrawalReason.VANISHED:
            self._ports.kept.recheck(report)
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                "The archive does not find the study now; the answer is looked at again.",
            )
        withdraw(self._ports.kept, report, reason)
        return self._ports.results.by_id(report.ehr_id, report.report_id) or report

    def why_withdrawn(
        self, registration: EhrRegistration, report: CaseReport, deadline: Deadline
    ) -> WithdrawalReason | None:
        """Return why an answer no longer holds, or None if archive and record still agree.

        Raises
        ------
        CdsError
            What the ports raise.

        """
        study = report.study
        if study is None or report.patient_id is None:
            return None
        token = self._own_token(registration, deadline)
        access = FhirAccess(registration, token, report.patient_id)
        by_archive = self._by_archive(access, report, study, deadline)
        if by_archive is not None or token is None:
            return by_archive
        return self._by_record(access, study, report.patient_id, deadline)

    def _own_token(self, registration: EhrRegistration, deadline: Deadline) -> SecretText | None:
        """Return our token, or None where we have no credentials: the archive decides alone."""
        try:
            return self._ports.tokens.access_token(registration, scope=SCOPE, deadline=deadline)
        except CdsError as error:
            if error.reason is Reason.INVALID_CONFIGURATION:
                return None
            raise

    def _by_archive(
        self,
        access: FhirAccess,
        report: CaseReport,
        study: StudyRef,
        deadline: Deadline,
    ) -> WithdrawalReason | None:
        """Compare what the archive says now with what it said then."""
        try:
            now = self._ports.inventories.inventory(
                access, study, patient_id_value=None, deadline=deadline
            )
        except CdsError as error:
            if error.reason is Reason.NO_IMAGING and error.facts.get("n_asked") != 0:
                return WithdrawalReason.VANISHED
            raise
        if now.is_rejected:
            return WithdrawalReason.REJECTED
        binding = self._ports.lives.binding_of(report)
        if binding is None or binding.identity is None:
            return None
        marker = WithdrawalReason.MISMATCHED
        changed = moved_or(marker, binding.identity, now.identity)
        return None if changed is marker else changed

    def _by_record(
        self, access: FhirAccess, study: StudyRef, patient_id: str, deadline: Deadline
    ) -> WithdrawalReason | None:
        record = self._ports.lookup.arrived_study(access, study, deadline)
        if record is None:
            return WithdrawalReason.VANISHED
        if record.status in IGNORED_STATUSES:
            return WithdrawalReason.CANCELLED
        if record.patient_id != patient_id:
            return WithdrawalReason.MOVED
        return WithdrawalReason.MERGED if record.replaced_by is not None else None


def recheck_job(ehr_id: str, report_id: str, work: Work = Work.ARRIVAL) -> NewJob:
    """Return the job that looks at an answer again."""
    return NewJob(
        JobKind.RECHECK_RESULT, ehr_id, f"result:{report_id}", {"report_id": report_id}, work
    )
