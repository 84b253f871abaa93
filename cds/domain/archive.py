"""What the archives say of a study: the PACS of its pictures, the EHR of its record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime


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
    """One whole DICOM object that was fetched to be compared later; untrusted bytes."""

    sop_instance_uid: str
    series_instance_uid: str
    content: bytes

    def __repr__(self) -> str:
        return f"ArchivedInstance(<redacted>, {len(self.content)} bytes)"
