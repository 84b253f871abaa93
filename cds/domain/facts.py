"""What is known about a patient at one time: measurements, history, outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from cds.domain.coding import Coding


@dataclass(frozen=True, slots=True)
class Measurement:
    """A laboratory value or vital sign in the catalogue's unit.

    Attributes
    ----------
    code
        Primary LOINC code of the catalogue row.
    value
        In `unit`.
    unit
        UCUM unit of the catalogue row.
    observed_at
        Aware UTC; None in library sources that say only "at the film".

    """

    code: str
    value: float
    unit: str
    observed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A value that was read but not used, and why; `text` holds value and unit as received."""

    display: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class HistoryFlag:
    """A condition on the record; only what was recorded before the film counts as history."""

    coding: Coding
    recorded_on: date | None = None
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding or diagnosis that a library case is known to have.

    Attributes
    ----------
    proof
        How it was confirmed: ``histology``, ``culture``, ``clinical``, ``report`` or ``unknown``.
    is_diagnosis
        True for the final diagnosis, False for a sign on the film.
    known_at
        Aware UTC time since when the record says so; protected; None where the source does not say.

    """

    coding: Coding
    proof: str = "unknown"
    is_diagnosis: bool = False
    known_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a patient after the film (CLINICAL 4.2).

    Attributes
    ----------
    code
        For example ``death``, ``icu-admission``, ``ventilation``.
    horizon_days
        Days after the film within which the event counts; None means the stay.
    value
        1.0 yes, 0.0 no, or a number with the unit that `code` implies (length of stay in days).
    observed_on
        Protected; None where the source does not say.
    source
        Who says so.

    """

    code: str
    horizon_days: int | None
    value: float
    observed_on: date | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """What the record block is made of."""

    age_years: int | None
    sex: str
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True, slots=True)
class SharedFact:
    """A measurement that both sides have and that contributes to the similarity.

    Attributes
    ----------
    query_value, case_value
        In `unit`.
    contribution
        Part of the record similarity, in [0, 1].

    """

    display: str
    unit: str
    query_value: float
    case_value: float
    contribution: float
