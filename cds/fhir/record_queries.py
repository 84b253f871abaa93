"""Which parts of the record are read, under which prefetch key, and by which FHIR search."""

from __future__ import annotations

from dataclasses import dataclass

PATIENT_KEY = "patient"


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """One part of the record.

    Attributes
    ----------
    key
        Prefetch key.
    resource_type
        FHIR type.
    parameters
        Search parameters beside the patient, in order.
    is_fresh
        Whether a cached answer will not do: HAPI FHIR answers an identical search from a cache for
        60 s (seen with 8.8.0 in 2026-11), and a study, its order or report, or a result may have
        arrived meanwhile.

    """

    key: str
    resource_type: str
    parameters: tuple[tuple[str, str], ...] = ()
    is_fresh: bool = False


CONDITIONS = RecordQuery("conditions", "Condition", (("_count", "200"),))
OBSERVATIONS = RecordQuery(
    "observations",
    "Observation",
    (("category", "laboratory,vital-signs"), ("_sort", "-date"), ("_count", "200")),
    is_fresh=True,
)
IMAGING_STUDIES = RecordQuery(
    "imagingStudies",
    "ImagingStudy",
    (("_include", "ImagingStudy:endpoint"), ("_count", "50")),
    is_fresh=True,
)
DIAGNOSTIC_REPORTS = RecordQuery(
    "diagnosticReports", "DiagnosticReport", (("_count", "50"),), is_fresh=True
)
SERVICE_REQUESTS = RecordQuery(
    "serviceRequests", "ServiceRequest", (("_count", "50"),), is_fresh=True
)

RECORD_QUERIES = (
    IMAGING_STUDIES,
    OBSERVATIONS,
    CONDITIONS,
    DIAGNOSTIC_REPORTS,
    SERVICE_REQUESTS,
)
