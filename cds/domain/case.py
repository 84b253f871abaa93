"""A case of the library: one imaging study of one past patient, with what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cds.domain.facts import Finding, HistoryFlag, Measurement, Outcome, PatientFacts
from cds.domain.key_slices import SlicePlace

ADULT_AGE_YEARS = 18


class ViewGroup(StrEnum):
    """Projections that may be compared with each other."""

    PA = "PA"
    AP = "AP"
    FRONTAL = "frontal"
    LATERAL = "lateral"
    OTHER = "other"

    @classmethod
    def from_view_position(cls, view_position: str | None) -> ViewGroup:
        """Map View Position (0018,5101), or a table's spelling of it, to a group.

        Examples
        --------
        >>> [ViewGroup.from_view_position(v).value for v in ("PA", "AP Supine", "LL", None)]
        ['PA', 'AP', 'lateral', 'other']

        """
        text = (view_position or "").strip().upper()
        if text == "PA":
            return cls.PA
        if text.startswith("AP"):
            return cls.AP
        if text == "FRONTAL":
            return cls.FRONTAL
        if text in {"L", "LL", "RL", "LATERAL", "LAT"}:
            return cls.LATERAL
        return cls.OTHER


class AgeGroup(StrEnum):
    """Age groups that are never mixed."""

    CHILD = "child"
    ADULT = "adult"
    UNKNOWN = "unknown"

    @classmethod
    def from_age_years(cls, age_years: int | None) -> AgeGroup:
        """Map completed years to a group."""
        if age_years is None:
            return cls.UNKNOWN
        return cls.CHILD if age_years < ADULT_AGE_YEARS else cls.ADULT


@dataclass(frozen=True, slots=True)
class CasePicture:
    """One picture of a case as the blob store keeps it (8-bit grey PNG, long side bounded).

    Attributes
    ----------
    inner_hashes
        Perceptual hashes of its inner parts (`cds.domain.picture_copy.inner_hashes`); empty in
        pictures that an earlier version imported.
    slice_place
        Of CT and MR, which slice of how many it was; None where it is not known.

    """

    picture_id: str
    blob_key: str
    rows: int
    columns: int
    view_group: ViewGroup
    perceptual_hash: int
    laterality: str | None = None
    inner_hashes: tuple[int, ...] = ()
    slice_place: SlicePlace | None = None


@dataclass(frozen=True, slots=True, repr=False)
class LibraryCase:
    """One study of one past patient; everything except the pictures and the keys may be missing.

    Attributes
    ----------
    case_id
        Opaque; says nothing about the patient.
    patient_key, study_key
        Keyed hashes (HMAC-SHA-256, hex) of the patient's identity and of the original study.
    known_at
        Aware UTC time after which this knowledge existed; None only if `is_reference`.
    film_year
        Shown instead of a date.
    states_at_film
        Codes that were already true at the film; never counted as outcomes.
    report_text
        Only text that was imported as de-identified or reviewed; else None.

    """

    case_id: str
    collection: str
    patient_key: str
    study_key: str
    owner_ehr_id: str | None = None
    modality: str | None = None
    body_part: str | None = None
    view_group: ViewGroup = ViewGroup.OTHER
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
    pictures: tuple[CasePicture, ...] = ()

    def __post_init__(self) -> None:
        if self.known_at is None and not self.is_reference:
            raise ValueError("a case without known_at belongs to a reference collection only")

    @property
    def age_group(self) -> AgeGroup:
        """Return the age group that may be compared with this case."""
        return AgeGroup.from_age_years(self.age_years)

    @property
    def facts(self) -> PatientFacts:
        """Return what the record block of this case is made of."""
        return PatientFacts(self.age_years, self.sex, self.measurements)

    @property
    def diagnosis(self) -> Finding | None:
        """Return the final diagnosis, if one is known."""
        return next((f for f in self.findings if f.is_diagnosis), None)

    def __repr__(self) -> str:
        return f"LibraryCase({self.case_id}, <redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class NewCase:
    """A case that is to be added to a library.

    Attributes
    ----------
    content_sha256
        Of each picture's source file, in the order of ``case.pictures``.
    notes
        What the source said and nobody is shown; kept encrypted.

    """

    case: LibraryCase
    content_sha256: tuple[str, ...]
    notes: Mapping[str, str]

    def __repr__(self) -> str:
        return "NewCase(<redacted>)"
