"""How far the human report of a study has come, from the DiagnosticReports of the same answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.domain.study import ReportState
from cds.fhir.shapes import accession_numbers, items, mapping, reference_id, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cds.fhir.shapes import Resource

_STATES = {
    "final": ReportState.FINAL,
    "amended": ReportState.FINAL,
    "corrected": ReportState.FINAL,
    "appended": ReportState.FINAL,
    "preliminary": ReportState.PRELIMINARY,
    "partial": ReportState.PRELIMINARY,
}
_RANK = (ReportState.NONE, ReportState.PRELIMINARY, ReportState.FINAL)
AI_ASSERTED = "AIAST"


def report_state_of(study: Resource, reports: Iterable[Resource]) -> ReportState:
    """Return the most advanced human report about a study.

    A report is about the study if it refers to it, or shares its accession number or its order.
    What software asserted (security label AIAST) is no human report.

    Parameters
    ----------
    study
        FHIR R4 ImagingStudy, or another resource with identifiers and `basedOn`.
    reports
        FHIR R4 DiagnosticReports.

    """
    states = [
        _STATES.get(text(report.get("status")) or "", ReportState.NONE)
        for report in reports
        if not is_by_software(report) and is_about(report, study)
    ]
    return max(states, key=_RANK.index, default=ReportState.NONE)


def is_by_software(report: Resource) -> bool:
    """Tell whether software asserted a report (security label AIAST)."""
    labels = items(mapping(report.get("meta")).get("security"))
    return any(label.get("code") == AI_ASSERTED for label in labels)


def is_about(report: Resource, study: Resource) -> bool:
    """Tell whether a report refers to a study, or shares its accession number or its order."""
    imaging_study_id = text(study.get("id"))
    referred = {reference_id(r, "ImagingStudy") for r in items(report.get("imagingStudy"))}
    if imaging_study_id is not None and imaging_study_id in referred:
        return True
    if set(accession_numbers(report)) & set(accession_numbers(study)):
        return True
    return bool(_orders(report) & _orders(study))


def _orders(resource: Resource) -> set[str]:
    orders = (reference_id(r, "ServiceRequest") for r in items(resource.get("basedOn")))
    return {order for order in orders if order is not None}
