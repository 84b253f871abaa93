"""What a library holds, in counts of distinct patients and of cases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cds.domain.case import LibraryCase
from cds.domain.lab_catalogue import catalogue_row

NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class LibraryStats:
    """Counts over a library; every mapping is value -> distinct patients, most first.

    Attributes
    ----------
    n_patients_by_measurement
        Of each laboratory value or vital sign, the patients that have it.
    n_patients_by_outcome
        ``code`` or ``code (n d)`` -> patients for whom the source answers yes, no or a number.
    film_years
        Earliest and latest year, or None where no case has one.
    quarantined
        Reason -> files or rows, of all runs.
    index_generation
        Id of the current index, or None.
    site_adapter
        What the index was adapted with, and whether it is to be refitted, or None.

    """

    n_cases: int
    n_patients: int
    n_pictures: int
    n_patients_by_collection: Mapping[str, int]
    n_patients_by_modality: Mapping[str, int]
    n_patients_by_view: Mapping[str, int]
    n_patients_by_age_group: Mapping[str, int]
    n_patients_by_sex: Mapping[str, int]
    n_patients_by_diagnosis: Mapping[str, int]
    n_patients_by_finding: Mapping[str, int]
    n_patients_by_measurement: Mapping[str, int]
    n_patients_by_outcome: Mapping[str, int]
    n_patients_by_licence: Mapping[str, int]
    film_years: tuple[int, int] | None = None
    quarantined: Mapping[str, int] = field(default_factory=dict)
    index_generation: str | None = None
    site_adapter: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return asdict(self)


def library_stats(
    cases: Iterable[LibraryCase],
    *,
    quarantined: Mapping[str, int],
    index_generation: str | None = None,
) -> LibraryStats:
    """Count a library.

    Parameters
    ----------
    cases
        Every case.
    quarantined
        Reason -> files or rows.
    index_generation
        Id of the current index.

    """
    held = list(cases)
    years = [case.film_year for case in held if case.film_year is not None]
    return LibraryStats(
        n_cases=len(held),
        n_patients=len({case.patient_key for case in held}),
        n_pictures=sum(len(case.pictures) for case in held),
        n_patients_by_collection=_patients_by(held, lambda c: (c.collection,)),
        n_patients_by_modality=_patients_by(held, lambda c: (c.modality or NOT_STATED,)),
        n_patients_by_view=_patients_by(held, lambda c: (c.view_group.value,)),
        n_patients_by_age_group=_patients_by(held, lambda c: (c.age_group.value,)),
        n_patients_by_sex=_patients_by(held, lambda c: (c.sex,)),
        n_patients_by_diagnosis=_patients_by(held, _diagnoses),
        n_patients_by_finding=_patients_by(held, _signs),
        n_patients_by_measurement=_patients_by(held, _measured),
        n_patients_by_outcome=_patients_by(held, _outcomes),
        n_patients_by_licence=_patients_by(held, lambda c: (c.licence or NOT_STATED,)),
        film_years=(min(years), max(years)) if years else None,
        quarantined=dict(quarantined),
        index_generation=index_generation,
    )


def _patients_by(
    cases: Iterable[LibraryCase], values: Callable[[LibraryCase], Iterable[str]]
) -> dict[str, int]:
    patients: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        for value in values(case):
            patients[value].add(case.patient_key)
    return dict(Counter({value: len(keys) for value, keys in patients.items()}).most_common())


def _diagnoses(case: LibraryCase) -> tuple[str, ...]:
    found = tuple(f.coding.display for f in case.findings if f.is_diagnosis)
    return found or (NOT_STATED,)


def _signs(case: LibraryCase) -> tuple[str, ...]:
    return tuple(f.coding.display for f in case.findings if not f.is_diagnosis)


def _measured(case: LibraryCase) -> tuple[str, ...]:
    rows = ((m.code, catalogue_row(m.code)) for m in case.measurements)
    return tuple(row.display if row is not None else code for code, row in rows)


def _outcomes(case: LibraryCase) -> tuple[str, ...]:
    return tuple(
        o.code if o.horizon_days is None else f"{o.code} ({o.horizon_days} d)"
        for o in case.outcomes
    )
