"""The patient and the record around one study."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cds.domain.dates import PartialDate
from cds.domain.facts import HistoryFlag, Measurement, SetAside
from cds.domain.study import StudyRef


@dataclass(frozen=True, slots=True)
class BusinessIdentifier:
    """A record number with the system that issued it."""

    value: str
    system: str | None = None
    type_code: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Demographics:
    """Who the FHIR Patient is, as far as identity binding and the page banner need it.

    Attributes
    ----------
    patient_id
        FHIR logical id, unique only within its EHR.
    sex
        ``male``, ``female``, ``other`` or ``unknown`` (FHIR administrative-gender).

    """

    patient_id: str
    identifiers: tuple[BusinessIdentifier, ...] = ()
    birth_on: PartialDate | None = None
    sex: str = "unknown"
    display_name: str | None = None
    is_deceased: bool = False

    def __repr__(self) -> str:
        return "Demographics(<redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class ClinicalContext:
    """What the caller's FHIR answers say, read once, with everything that could not be read.

    Attributes
    ----------
    studies
        Newest first; only studies that the caller's own answers listed.
    missing
        Sentences for resources that could not be read ("Observation: the EHR answered 503").
    read_at
        Aware UTC time of the reading; shown as the data time.

    """

    demographics: Demographics
    read_at: datetime
    studies: tuple[StudyRef, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    history: tuple[HistoryFlag, ...] = ()
    missing: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "ClinicalContext(<redacted>)"
