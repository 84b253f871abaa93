"""What arriving studies and withdrawn answers need from outside, as Protocols."""

from __future__ import annotations

from datetime import date
from typing import Protocol

from cds.domain.arrival import ArrivedStudy, FoundStudy, StudyInventory
from cds.domain.registration import EhrRegistration
from cds.domain.report import CaseReport
from cds.domain.study import StudyRef
from cds.domain.withdrawal import ResultBinding, Withdrawal
from cds.ports import Deadline, FhirAccess


class StudyInventories(Protocol):
    """Asks a PACS what it holds of a study, without fetching pictures."""

    def inventory(
        self,
        access: FhirAccess,
        study: StudyRef,
        *,
        patient_id_value: str | None,
        deadline: Deadline,
    ) -> StudyInventory:
        """Return what the PACS holds of a study now.

        Credentials go as with `ImageSource.retrieve_frames`.

        Raises
        ------
        CdsError
            NO_IMAGING if the PACS does not know the study; UPSTREAM_FAILED, UPSTREAM_REFUSED,
            EGRESS_REFUSED or DEADLINE.

        """
        ...


class NewStudies(Protocol):
    """Asks an EHR's default PACS which studies there are."""

    def since(
        self, registration: EhrRegistration, first_on: date, *, deadline: Deadline
    ) -> tuple[FoundStudy, ...]:
        """Return the studies of enrolled modalities from that day on.

        Raises
        ------
        CdsError
            INVALID_CONFIGURATION if no default PACS is registered; UPSTREAM_FAILED,
            UPSTREAM_REFUSED, EGRESS_REFUSED or DEADLINE.

        """
        ...


class RecordLookup(Protocol):
    """Finds arrived studies in the record, with our own token."""

    def arrived_study(
        self, access: FhirAccess, study: StudyRef, deadline: Deadline
    ) -> ArrivedStudy | None:
        """Return what the record says about a study now, or None if it does not know it.

        The study is found by its ImagingStudy id, else its UID, else its accession number.
        """
        ...


class ResultLives(Protocol):
    """What happens to an answer after it was computed: bound, opened, withdrawn."""

    def bind(self, report: CaseReport, binding: ResultBinding) -> None:
        """Remember to what an answer is bound; its study's earlier answers are superseded.

        Earlier means: about the same study and patient, from other pictures (another fingerprint).
        """
        ...

    def bound(self, ehr_id: str, record_hash: str) -> tuple[CaseReport, ResultBinding] | None:
        """Return the newest answer with a fingerprint for this record, unless withdrawn."""
        ...

    def n_withdrawn(self, ehr_id: str, input_hash: str) -> int:
        """Return how often an answer from exactly these inputs was withdrawn."""
        ...

    def withdraw(self, report: CaseReport, withdrawal: Withdrawal) -> bool:
        """Withdraw an answer; False if it was withdrawn before."""
        ...

    def mark_opened(self, report: CaseReport) -> None:
        """Remember that somebody's call was answered from this: it is kept with the record."""
        ...

    def mark_checked(self, report: CaseReport) -> None:
        """Remember that an answer was found to hold now."""
        ...

    def binding_of(self, report: CaseReport) -> ResultBinding | None:
        """Return to what an answer is bound, or None if that is not known."""
        ...

    def of_study(
        self, ehr_id: str, study_instance_uid: str, patient_id: str | None = None
    ) -> tuple[CaseReport, ...]:
        """Return the answers about a study that are not withdrawn, of one patient or of all."""
        ...
