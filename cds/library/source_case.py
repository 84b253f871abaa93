"""What a table of cases says about one study, before anything is read from its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cds.domain.facts import Finding, HistoryFlag, Measurement, Outcome, SetAside
from cds.domain.key_slices import SlicePlace
from cds.domain.pixels import PixelFrame

PictureCheck = Callable[[PixelFrame], None]

NO_PATIENT = "the row names no patient"
NOT_FOUND = "picture file not found"
OUTSIDE = "picture lies outside the folder"
NOT_DATED = "known_at is missing and the collection is not declared a reference"


@dataclass(frozen=True, slots=True, repr=False)
class SourcePicture:
    """One picture that a row names.

    Attributes
    ----------
    name
        As the table spells it; may hold an identity, so it is kept encrypted only.
    file
        None where no file was found.
    missing_reason
        Why `file` is None.
    content
        The whole file where it does not lie on disk; untrusted.
    slice_place
        Which slice of how many this is, where it was chosen from a series of CT or MR.

    """

    name: str
    file: Path | None
    view_position: str | None = None
    laterality: str | None = None
    missing_reason: str = NOT_FOUND
    content: bytes | None = None
    slice_place: SlicePlace | None = None


@dataclass(frozen=True, slots=True, repr=False)
class SourceCase:
    """One study as its source tells it.

    Attributes
    ----------
    row_name
        What names the row in the quarantine; kept encrypted.
    study_name
        Identifies the study within the collection.
    study_instance_uid
        The original UID where the source or the picture gives it.
    patient_namespace, patient_value
        Whose number it is, and the number; None: it must come from the picture itself.
    notes
        Free text and exact dates of the source: kept encrypted, never shown.
    set_aside
        Values that were read but not used.
    owner_ehr_id
        The EHR whose library this is; None for a collection that is nobody's.
    check
        Raises CdsError if a decoded picture is not this row's: it then goes to the quarantine.
    is_newest
        Whether the row replaces what was known of a case that is in the library already.

    """

    row_name: str
    collection: str
    study_name: str
    patient_namespace: str
    patient_value: str | None
    pictures: tuple[SourcePicture, ...]
    study_instance_uid: str | None = None
    modality: str | None = None
    body_part: str | None = None
    view_position: str | None = None
    age_years: int | None = None
    sex: str = "unknown"
    known_at: datetime | None = None
    is_reference: bool = False
    film_year: int | None = None
    findings: tuple[Finding, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    history: tuple[HistoryFlag, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    states_at_film: tuple[str, ...] = ()
    report_text: str | None = None
    licence: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    set_aside: tuple[SetAside, ...] = ()
    owner_ehr_id: str | None = None
    check: PictureCheck | None = field(default=None, compare=False)
    is_newest: bool = False

    def __repr__(self) -> str:
        return f"SourceCase({self.collection}, <redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class RejectedRow:
    """A row that cannot become a case, and why."""

    row_name: str
    reason: str

    def __repr__(self) -> str:
        return f"RejectedRow({self.reason})"


SourceRow = SourceCase | RejectedRow
