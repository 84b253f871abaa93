"""Everything that an archive's FHIR server holds about one patient, still as FHIR JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cds.fhir.shapes import Resource, subject_id, text

if TYPE_CHECKING:
    from collections.abc import Iterable

PARTS = {
    # FHIR type -> field of `PatientRecord`
    "ImagingStudy": "imaging_studies",
    "DiagnosticReport": "diagnostic_reports",
    "Encounter": "encounters",
    "Condition": "conditions",
    "Observation": "observations",
    "Procedure": "procedures",
    "Consent": "consents",
}
REQUIRED = frozenset({"ImagingStudy", "DiagnosticReport", "Condition", "Observation"})
"""Without these a case is not made; without the others an outcome or a consent is not known."""


@dataclass(frozen=True, slots=True, repr=False)
class PatientRecord:
    """One patient's resources; each is about this patient, which `of` has seen to.

    Attributes
    ----------
    refused
        FHIR types that the server would not give; what depends on them is unknown.
    n_foreign
        Resources about somebody else that were answered and left out.

    """

    patient: Resource
    imaging_studies: tuple[Resource, ...] = ()
    diagnostic_reports: tuple[Resource, ...] = ()
    encounters: tuple[Resource, ...] = ()
    conditions: tuple[Resource, ...] = ()
    observations: tuple[Resource, ...] = ()
    procedures: tuple[Resource, ...] = ()
    consents: tuple[Resource, ...] = ()
    refused: frozenset[str] = frozenset()
    n_foreign: int = 0

    @classmethod
    def of(
        cls,
        patient: Resource,
        resources: Iterable[Resource],
        *,
        refused: Iterable[str] = (),
        merged_ids: Iterable[str] = (),
    ) -> PatientRecord:
        """Sort resources by type; what is about another patient is left out and counted.

        `merged_ids` are those of Patients that were merged into this one: the same person.
        """
        own_ids = {text(patient.get("id")), *merged_ids}
        parts: dict[str, list[Resource]] = {name: [] for name in PARTS.values()}
        seen: set[tuple[str, str]] = set()
        n_foreign = 0
        for resource in resources:
            kind = text(resource.get("resourceType")) or ""
            if kind not in PARTS:
                continue
            if subject_id(resource) not in own_ids:
                n_foreign += 1
                continue
            key = (kind, text(resource.get("id")) or "")
            if key[1] and key in seen:  # paging over a changing set repeats entries
                continue
            seen.add(key)
            parts[PARTS[kind]].append(resource)
        found = {name: tuple(part) for name, part in parts.items()}
        return cls(
            patient,
            imaging_studies=found["imaging_studies"],
            diagnostic_reports=found["diagnostic_reports"],
            encounters=found["encounters"],
            conditions=found["conditions"],
            observations=found["observations"],
            procedures=found["procedures"],
            consents=found["consents"],
            refused=frozenset(refused),
            n_foreign=n_foreign,
        )

    def __repr__(self) -> str:
        return "PatientRecord(<redacted>)"
