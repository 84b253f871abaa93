"""The FHIR resources of a kept answer, found by type and id."""

from __future__ import annotations

from typing import Any

from cds.domain.registration import EhrRegistration
from cds.domain.report import CaseReport
from cds.fhir.ai_label import device_from_report
from cds.fhir.diagnostic_report import diagnostic_report_from_report, observations_from_report


def resource_of(
    report: CaseReport, registration: EhrRegistration, resource_type: str, resource_id: str
) -> dict[str, Any] | None:
    """Return one resource of an answer, or None if it has no such resource."""
    made: tuple[dict[str, Any], ...]
    if resource_type == "DiagnosticReport":
        made = (diagnostic_report_from_report(report, registration),)
    elif resource_type == "Observation":
        made = observations_from_report(report, registration)
    else:
        made = (device_from_report(report),)
    return next(
        (r for r in made if r["resourceType"] == resource_type and r["id"] == resource_id), None
    )
