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
    made = {
        "DiagnosticReport": lambda: (diagnostic_report_from_report(report, registration),),
        "Observation": lambda: observations_from_report(report, registration),
        "Device": lambda: (device_from_report(report),),
    }[resource_type]()
    return next((resource for resource in made if resource["id"] == resource_id), None)
