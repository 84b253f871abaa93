"""What the archives say of a study: the PACS of its pictures, the EHR of its record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from cds.domain.completeness import InstanceCount
from cds.domain.key_slices import SlicePlace


@dataclass(frozen=True, slots=True)
class StudySearch:
    """Which studies a librarian asked for.

    Attributes
    ----------
    from_on, to_on
        Study Date, both ends included.
    modalities
        As DICOM spells them; empty means any.
    body_parts
        As DICOM spells them, upper case; empty means any.

    """

    from_on: date | None = None
    to_on: date | None = None
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class ArchivedStudy:
    """One study as QIDO-RS lists it; identifying, so it prints nothing.

    Attributes
    ----------
    started_at
        Aware UTC, from Study Date and Time in the archive's time zone; None if the date is missing.
    n_instances
        As the archive counts them, None if it does not say.

    """

    study_instance_uid: str
    patient_id_value: str | None
    issuer: str | None
    accession_number: str | None
    started_at: datetime | None
    modalities: tuple[str, ...]
    body_part: str | None = None
    n_instances: int | None = None

    def __repr__(self) -> str:
        return "ArchivedStudy(<redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class ArchivedInstance:
    """One whole DICOM object that was fetched to be compared later; untrusted bytes.

    Attributes
    ----------
    place
        Which slice of how many it is, where it was chosen from a series of CT or MR.

    """

    sop_instance_uid: str
    series_instance_uid: str
    content: bytes
    place: SlicePlace | None = None

    def __repr__(self) -> str:
        return f"ArchivedInstance(<redacted>, {len(self.content)} bytes)"


class LedgerState(StrEnum):
    """Where a study of the archives stands on its way into the library.

    WAITING is seen and to be taken up; CLAIMED is being imported by one importer, for a limited
    time; IMPORTED is in the library; FAILED was given up after its attempts; WITHDRAWN shall not be
    in the library (opted out, rejected, merged away).
    """

    WAITING = "waiting"
    CLAIMED = "claimed"
    IMPORTED = "imported"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, repr=False)
class LedgerEntry:
    """What is remembered of one study between runs; identifying, so it prints nothing.

    Attributes
    ----------
    study
        As it was seen last; None once it was withdrawn, until it is seen again after it was
        reopened: what shall not be in the library is not kept here either.
    n_instances
        As counted last; None before the first count.
    unchanged_since_at
        Since when the count is what it is; None before the first count.
    n_imported_instances
        The count when the study was imported; None before.
    n_attempts
        Claims so far.
    last_reason
        Why it waits, failed or was withdrawn; a sentence free of PHI.
    retry_at
        Not to be claimed before; None means at once.

    """

    study_key: str
    study: ArchivedStudy | None
    state: LedgerState
    n_instances: int | None = None
    unchanged_since_at: datetime | None = None
    n_imported_instances: int | None = None
    n_attempts: int = 0
    last_reason: str | None = None
    retry_at: datetime | None = None

    @property
    def count(self) -> InstanceCount | None:
        """Return the last count and since when it stands, for the rule of completeness."""
        if self.n_instances is None or self.unchanged_since_at is None:
            return None
        return InstanceCount(self.n_instances, self.unchanged_since_at)

    @property
    def has_late_instances(self) -> bool:
        """Tell whether the study has changed since it was imported."""
        return (
            self.state is LedgerState.IMPORTED
            and self.n_instances is not None
            and self.n_imported_instances is not None
            and self.n_instances != self.n_imported_instances
        )

    def __repr__(self) -> str:
        return f"LedgerEntry(<redacted>, {self.state.value})"


@dataclass(frozen=True, slots=True)
class LedgerClaim:
    """The right to import one study, of one importer, until a moment.

    Attributes
    ----------
    token
        Random; whoever claims after the lease has ended gets another one, and this one is void.

    """

    study_key: str
    token: str
    until_at: datetime
