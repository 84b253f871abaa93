"""Answers that were computed before: they serve again only while study and patient still agree.

Each use looks into the PACS first, without fetching pictures: whose study it is now, which
instances it has, what was rejected. What no longer holds is withdrawn on evidence, never on
silence: a caller who may see less than we do proves nothing about a study that is not shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cds.arrival_ports import ResultLives, StudyInventories
from cds.domain.arrival import StudyInventory
from cds.domain.errors import CdsError, Reason
from cds.domain.identity import check_identity, patient_id_value
from cds.domain.patient import ClinicalContext
from cds.domain.pixels import PictureIdentity, PixelFrame
from cds.domain.report import CaseReport
from cds.domain.study import StudyRef
from cds.domain.withdrawal import ResultBinding, Withdrawal, WithdrawalReason
from cds.ports import AuditEvent, AuditTrail, Clock, Deadline, FhirAccess, IdentityKeys

Recheck = Callable[[CaseReport], None]
REJECTED = "The pictures of this study were rejected in the archive; nothing was compared."


@dataclass(frozen=True, slots=True)
class KeptAnswerPorts:
    """What keeping answers needs.

    Attributes
    ----------
    recheck
        Has an answer looked at again later, with our own rights.

    """

    lives: ResultLives
    inventories: StudyInventories
    audit: AuditTrail
    clock: Clock
    keys: IdentityKeys
    recheck: Recheck


class KeptAnswers:
    """Finds answers that still hold, binds new ones, withdraws what does not hold."""

    def __init__(self, ports: KeptAnswerPorts) -> None:
        self._ports = ports

    def look(
        self, access: FhirAccess, context: ClinicalContext, study: StudyRef, deadline: Deadline
    ) -> StudyInventory:
        """Return what the PACS holds of a study, if it is this patient's and not rejected.

        Raises
        ------
        CdsError
            IDENTITY_MISMATCH, or NO_IMAGING for a rejected study, after its answers for this
            patient were withdrawn; NO_IMAGING for an unknown study, whose answers are checked
            again with our own rights; what `StudyInventories.inventory` raises.

        """
        registration = access.registration
        try:
            inventory = self._ports.inventories.inventory(
                access,
                study,
                patient_id_value=patient_id_value(context.demographics, registration),
                deadline=deadline,
            )
        except CdsError as error:
            if error.reason is Reason.NO_IMAGING:
                self._recheck(access, study, context.demographics.patient_id)
            raise
        if inventory.is_rejected:
            self._withdraw(access, study, WithdrawalReason.REJECTED, None)
            raise CdsError(Reason.NO_IMAGING, REJECTED)
        try:
            check_identity(inventory.identity, context.demographics, study, registration)
        except CdsError:
            self._withdraw(access, study, WithdrawalReason.MISMATCHED, inventory.identity)
            raise
        return inventory

    def standing(
        self, ehr_id: str, record_hash: str, inventory: StudyInventory
    ) -> CaseReport | None:
        """Return the answer from this record and exactly these instances, unless withdrawn."""
        found = self._ports.lives.bound(ehr_id, record_hash)
        if found is None or found[1].fingerprint != inventory.fingerprint:
            return None
        self._ports.lives.mark_checked(found[0])
        return found[0]

    def n_withdrawn(self, ehr_id: str, input_hash: str) -> int:
        """Return how often an answer from exactly these inputs was withdrawn."""
        return self._ports.lives.n_withdrawn(ehr_id, input_hash)

    def bind(
        self,
        report: CaseReport,
        record_hash: str,
        inventory: StudyInventory,
        *,
        is_precomputed: bool,
    ) -> None:
        """Bind a new answer; those about the same study under other patients are checked again."""
        binding = ResultBinding(
            record_hash, inventory.identity, inventory.fingerprint, is_precomputed
        )
        self._ports.lives.bind(report, binding)
        uid = inventory.identity.study_instance_uid
        for other in self._ports.lives.of_study(report.ehr_id, uid) if uid else ():
            if other.patient_id != report.patient_id:
                self._ports.recheck(other)

    def mark_opened(self, report: CaseReport) -> None:
        """Remember that somebody's call was answered from this."""
        self._ports.lives.mark_opened(report)

    def _recheck(self, access: FhirAccess, study: StudyRef, patient_id: str) -> None:
        uid, ehr_id = study.study_instance_uid, access.registration.ehr_id
        for report in self._ports.lives.of_study(ehr_id, uid, patient_id) if uid else ():
            self._ports.recheck(report)

    def _withdraw(
        self,
        access: FhirAccess,
        study: StudyRef,
        reason: WithdrawalReason,
        now: PictureIdentity | None,
    ) -> None:
        uid, ehr_id = study.study_instance_uid, access.registration.ehr_id
        lives = self._ports.lives
        for report in lives.of_study(ehr_id, uid, access.patient_id) if uid else ():
            binding = lives.binding_of(report)
            then = None if binding is None else binding.identity
            withdraw(self._ports, report, moved_or(reason, then, now))


def moved_or(
    reason: WithdrawalReason, then: PictureIdentity | None, now: PictureIdentity | None
) -> WithdrawalReason:
    """Return MOVED if the archive names another patient than it did, else the given reason."""
    if then is None or now is None:
        return reason
    is_same = (then.patient_id_value, then.issuer) == (now.patient_id_value, now.issuer)
    return reason if is_same else WithdrawalReason.MOVED


def withdraw(ports: KeptAnswerPorts, report: CaseReport, reason: WithdrawalReason) -> bool:
    """Withdraw an answer and note it in the audit trail; False if it was withdrawn before."""
    is_new = ports.lives.withdraw(report, Withdrawal(reason, ports.clock.now()))
    if is_new:
        patient_id = report.patient_id
        ports.audit.record(
            AuditEvent(
                ehr_id=report.ehr_id,
                action="result.withdrawn",
                outcome=reason.value,
                patient_key=ports.keys.patient_key(report.ehr_id, patient_id)
                if patient_id
                else None,
                entity=report.report_id,
            )
        )
    return is_new


def without_rejected(
    frames: tuple[PixelFrame, ...], inventory: StudyInventory | None
) -> tuple[PixelFrame, ...]:
    """Return the frames that no rejection note names; NO_IMAGING if there are none."""
    rejected = inventory.rejected if inventory is not None else frozenset()
    kept = tuple(frame for frame in frames if frame.sop_instance_uid not in rejected)
    if not kept:
        raise CdsError(Reason.NO_IMAGING, REJECTED)
    return kept
