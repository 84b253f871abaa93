"""The FHIR resources of a kept answer, found by type and id."""

from __future__ import annotations

from typing import Any

from cds.domain.registration import EhrRegistration
from cds.domain.report import CaseReport
from cds.domain.source_attributes import SourceAttributeCard
from cds.fhir.diagnostic_report import diagnostic_report_from_report, observations_from_report
from cds.fhir.model_card import described_device, model_card_documents


def resource_of(
    report: CaseReport,
    registration: EhrRegistration,
    resource_type: str,
    resource_id: str,
    *,
    card: SourceAttributeCard | None = None,
) -> dict[str, Any] | None:
    """Return one resource of an answer, or None if it has no such resource.

    Parameters
    ----------
    report, registration
        The answer and its EHR.
    resource_type, resource_id
        What is asked for.
    card
        Of the image model in force. An answer of another model has no DocumentReference, since
        the card is not about that one.

    """
    made: tuple[dict[str, Any], ...]
    if resource_type == "DiagnosticReport":
        made = (diagnostic_report_from_report(report, registration),)
    elif resource_type == "Observation":
        made = observations_from_report(report, registration)
    elif resource_type == "DocumentReference":
        made = model_card_documents(report, card)
    else:
        made = (described_device(report, card),)
    return next(
        (r for r in made if r["resourceType"] == resource_type and r["id"] == resource_id), None
    )
