"""What the import of a hospital's own archives needs from outside, as Protocols."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Protocol

from cds.domain.archive import (
    ArchivedInstance,
    ArchivedStudy,
    LedgerClaim,
    LedgerEntry,
    LedgerState,
    StudySearch,
)
from cds.domain.librarian import LibrarianAct
from cds.domain.recorded_case import RecordedCase


class PictureArchive(Protocol):
    """A PACS that is walked politely."""

    def search_studies(self, search: StudySearch) -> Iterator[ArchivedStudy]:
        """Return the studies, oldest first; each once.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED or UPSTREAM_REFUSED once the archive cannot be asked further.

        """
        ...

    def n_instances(self, study: ArchivedStudy) -> int:
        """Return how many instances the archive holds of a study now.

        Raises
        ------
        CdsError
            NO_IMAGING if it no longer knows the study; UPSTREAM_FAILED or UPSTREAM_REFUSED.

        """
        ...

    def retrieve_instances(self, study: ArchivedStudy) -> tuple[ArchivedInstance, ...]:
        """Return only the objects to be compared: films, or key slices chosen from the metadata.

        Raises
        ------
        CdsError
            NO_IMAGING, IMAGE_UNSUPPORTED, IMAGE_UNREADABLE; IDENTITY_MISMATCH if the archive hands
            out an object of another study or patient; UPSTREAM_FAILED, UPSTREAM_REFUSED, DEADLINE.

        """
        ...


class RecordArchive(Protocol):
    """A FHIR server that says whose a study is, what was known then, and what came after."""

    def case_of(self, study: ArchivedStudy) -> RecordedCase | None:
        """Return what the record says of a study; None if it does not know the patient.

        Raises
        ------
        CdsError
            IDENTITY_MISMATCH if PACS and record name different patients; UPSTREAM_FAILED or
            UPSTREAM_REFUSED.

        """
        ...


class OptOuts(Protocol):
    """Who is kept out of a library, as keyed hashes only."""

    def add(self, ehr_id: str, patient_keys: Collection[str], *, source: str) -> None:
        """Keep patients out; who is kept out already stays so."""
        ...

    def remove(self, ehr_id: str, patient_keys: Collection[str], *, source: str) -> None:
        """Take patients off the list of one source."""
        ...

    def sources(self, ehr_id: str, patient_keys: Collection[str]) -> frozenset[str]:
        """Return who keeps one of these keys out: ``list``, ``record``, both or nobody.

        An erasure counts as the list.
        """
        ...

    def n_cases_in_library(self, ehr_id: str) -> int:
        """Return how many cases of this EHR's library are of patients who are kept out now."""
        ...


class LibrarianActs(Protocol):
    """Keeps who ran an import, and with what right."""

    def keep(self, run_id: str, act: LibrarianAct, *, owner_ehr_id: str) -> None:
        """Keep the act of a run that has been noted in the catalogue."""
        ...


class ArchiveLedger(Protocol):
    """What has become of each study of the archives, for one collection; outlives every run.

    Several importers may use it at once: a study is claimed by one of them, and whoever lost its
    claim learns that from the answer and must undo or leave what it was about to store.
    """

    def see(self, study: ArchivedStudy, *, n_instances: int | None = None) -> LedgerEntry:
        """Remember that the archive lists a study, and how many instances were counted just now.

        A new study is WAITING; a known one keeps its state. `unchanged_since_at` moves only when
        the count does.
        """
        ...

    def claim(self, study_key: str, *, lease_s: float) -> LedgerClaim | None:
        """Return the right to import a study; None if another has it or it is not to be taken up.

        Taken up are studies that wait (once `retry_at` has passed) and those whose importer died:
        its lease has ended.
        """
        ...

    def extend(self, claim: LedgerClaim, *, lease_s: float) -> LedgerClaim | None:
        """Return the claim with a new lease, counted from now; None if it was lost."""
        ...

    def mark_imported(self, claim: LedgerClaim, *, n_instances: int) -> bool:
        """Note that the study is in the library; False if the claim was lost."""
        ...

    def mark_waiting(self, claim: LedgerClaim, reason: str, *, retry_at: datetime) -> bool:
        """Give the study back, to be taken up later; False if the claim was lost."""
        ...

    def mark_failed(self, claim: LedgerClaim, reason: str) -> bool:
        """Give the study up until somebody reopens it; False if the claim was lost."""
        ...

    def withdraw(self, study_key: str, reason: str) -> None:
        """Note that the study shall not be in the library; ends every claim, keeps no identity."""
        ...

    def withdraw_patient(self, patient_key: str, reason: str) -> int:
        """Withdraw every study of a patient, and return how many; their keys are cut from it."""
        ...

    def reopen(self, study_key: str, reason: str) -> None:
        """Let a study that was imported, failed or withdrawn be taken up again."""
        ...

    def entry(self, study: ArchivedStudy) -> LedgerEntry | None:
        """Return what is remembered of a study, None if it was never seen."""
        ...

    def due(self, *, limit: int = 1000) -> tuple[LedgerEntry, ...]:
        """Return the studies that can be claimed now, in the order of their first sight."""
        ...

    def entries(self, state: LedgerState) -> Iterator[LedgerEntry]:
        """Return the studies in a state, in the order of their first sight."""
        ...

    def tally(self) -> Mapping[LedgerState, int]:
        """Return how many studies are in each state; states without any are left out."""
        ...
