"""FHIR ServiceRequest or DiagnosticReport with an accession number -> StudyRef without a UID."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.domain.study import StudyRef
from cds.fhir.dates import effective_at, moment
from cds.fhir.report_state import report_state_of
from cds.fhir.shapes import accession_numbers, concept_text, items, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cds.fhir.shapes import Resource

# Names of the LOINC/RSNA Radiology Playbook hold the modality as a word: "Portable XR Chest Views".
_MODALITIES = {"XR": "DX", "CT": "CT", "MR": "MR", "US": "US", "MG": "MG"}
IGNORED_STATUSES = frozenset({"entered-in-error", "revoked", "draft", "cancelled"})


def is_ignored(order: Resource) -> bool:
    """Tell whether an order or report was withdrawn or never placed."""
    return order.get("status") in IGNORED_STATUSES


def study_from_accession(order: Resource, *, reports: Iterable[Resource] = ()) -> StudyRef | None:
    """Return the study that an order or report names by accession number, or None.

    Parameters
    ----------
    order
        FHIR R4 ServiceRequest or DiagnosticReport as JSON.
    reports
        DiagnosticReports of the same answer.

    Returns
    -------
    StudyRef or None
        Without Study Instance UID; the PACS is asked for it by accession number (QIDO-RS). The
        time is the one at which the procedure took place, never the one of ordering.

    """
    numbers = accession_numbers(order)
    if not numbers:
        return None
    sites = (concept_text(site) for site in items(order.get("bodySite")))
    return StudyRef(
        accession_number=numbers[0],
        modality=_modality(order),
        body_part=next((site for site in sites if site), None) or _chest(order),
        description=concept_text(order.get("code")) or text(order.get("description")),
        started_at=moment(order.get("occurrenceDateTime")) or effective_at(order),
        report_state=report_state_of(order, reports),
    )


def _modality(order: Resource) -> str | None:
    words = (concept_text(order.get("code")) or "").split()
    return next((_MODALITIES[word] for word in words if word in _MODALITIES), None)


def _chest(order: Resource) -> str | None:
    return "Chest" if "chest" in (concept_text(order.get("code")) or "").lower() else None
