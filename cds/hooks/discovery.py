"""Which CDS services exist, and what each asks to be prefetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class CdsService:
    """One entry of the discovery document.

    Attributes
    ----------
    cds_service_id
        Last segment of the service's URL.
    prefetch
        Key -> FHIR query with root-level tokens only (CDS Hooks 2.0.1); any key may stay absent.

    """

    cds_service_id: str
    hook: str
    title: str
    description: str
    prefetch: Mapping[str, str]
    usage_requirements: str

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        return {
            "hook": self.hook,
            "title": self.title,
            "description": self.description,
            "id": self.cds_service_id,
            "prefetch": dict(self.prefetch),
            "usageRequirements": self.usage_requirements,
        }


SIMILAR_CASES = CdsService(
    cds_service_id="precedent-similar-cases",
    hook="patient-view",
    title="Similar past cases (investigational)",
    description=(
        "Compares the newest unreported imaging study and the record of the patient in view with "
        "past cases of the site's own library. Investigational: it does not read the picture, and "
        "it stays silent unless something is worth saying."
    ),
    prefetch=MappingProxyType(
        {
            "patient": "Patient/{{context.patientId}}",
            "conditions": "Condition?patient={{context.patientId}}&_count=200",
            "observations": (
                "Observation?patient={{context.patientId}}"
                "&category=laboratory,vital-signs&_sort=-date&_count=200"
            ),
            "imagingStudies": "ImagingStudy?patient={{context.patientId}}&_count=50",
            "diagnosticReports": "DiagnosticReport?patient={{context.patientId}}&_count=50",
            "serviceRequests": "ServiceRequest?patient={{context.patientId}}&_count=50",
        }
    ),
    usage_requirements=(
        "Pictures are fetched from the registered PACS, and only for studies that the caller's own "
        "FHIR answers listed. Without fhirAuthorization the prefetch must hold at least "
        "patient and imagingStudies."
    ),
)

CDS_SERVICES = (SIMILAR_CASES,)


def cds_service_by_id(cds_service_id: str) -> CdsService | None:
    """Return the service with this id, or None."""
    return next((s for s in CDS_SERVICES if s.cds_service_id == cds_service_id), None)


def discovery_json(cds_services: tuple[CdsService, ...] = CDS_SERVICES) -> dict[str, Any]:
    """Return the discovery document; without services the list is there and empty.

    Examples
    --------
    >>> discovery_json(())
    {'services': []}

    """
    return {"services": [cds_service.to_json() for cds_service in cds_services]}
