"""How our FHIR resources say that software made them (HL7 AI Transparency on FHIR, ballot).

Ballot material changes: its codes are in this module alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cds.domain.coding import LOCAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cds.domain.report import CaseReport, ReportVersions

AIAST = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
_AI_DEVICE_TYPE = {
    "system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS",
    "code": "Artificial-Intelligence",
}
_AI_INPUTS = "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIinputsCS"
AI_MODEL_CARD = {"system": _AI_INPUTS, "code": "AIModelCard", "display": "AI Model-Card"}
MARKDOWN_FORMAT = {
    "system": _AI_INPUTS,
    "code": "AIModelCardMarkdownFormat",
    "display": "Markdown Format",
}
_MODEL_CARD_EXTENSION = (
    "http://hl7.org/fhir/uv/aitransparency/StructureDefinition/aitransparency.modelCardDescription"
)
_AUTHOR = {
    "system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
    "code": "author",
}
INVESTIGATIONAL = "Investigational software: research use only, not cleared."
PRODUCT = "Precedent"
DEVICE_SYSTEM = "https://precedent.example.invalid/NamingSystem/versions"


def meta(report: CaseReport) -> dict[str, Any]:
    """Return the meta of every resource of an answer: one version, two once withdrawn; labelled."""
    withdrawn = report.withdrawn
    return {
        "versionId": "1" if withdrawn is None else "2",
        "lastUpdated": instant(report.created_at if withdrawn is None else withdrawn.noticed_at),
        "security": [dict(AIAST)],
    }


def status(report: CaseReport) -> str:
    """Return the status of a DiagnosticReport or Observation of an answer.

    What was withdrawn as wrong is ``entered-in-error``; what a newer answer superseded stays
    ``preliminary`` and says so in words.
    """
    is_wrong = report.withdrawn is not None and report.withdrawn.is_error
    return "entered-in-error" if is_wrong else "preliminary"


def device_id(report: CaseReport) -> str:
    """Return the logical id of the answer's Device; it begins with the report's, as all do."""
    return f"{report.report_id}-device"


def device_identifier(versions: ReportVersions) -> str:
    """Return what every answer of the same versions shares, to find them again for a recall."""
    parts = (
        versions.software,
        versions.encoder_hash,
        versions.index_generation,
        versions.wording,
    )
    return sha256("|".join(parts).encode()).hexdigest()


def device_with_model_card(device: dict[str, Any], document_ref: str) -> dict[str, Any]:
    """Return the Device with a reference to the DocumentReference of its model card."""
    link = {"url": _MODEL_CARD_EXTENSION, "valueReference": {"reference": document_ref}}
    return {**device, "extension": [link]}


def device_from_report(report: CaseReport) -> dict[str, Any]:
    """Return the Device that made an answer: the software with the versions it ran with."""
    versions = report.versions
    parts = {
        "software": versions.software,
        "encoder": f"{versions.encoder_name} {versions.encoder_hash}".strip(),
        "index-generation": versions.index_generation,
        "wording": versions.wording,
    }
    return {
        "resourceType": "Device",
        "id": device_id(report),
        "meta": meta(report),
        "identifier": [{"system": DEVICE_SYSTEM, "value": device_identifier(versions)}],
        "status": "active",
        "manufacturer": PRODUCT,
        "deviceName": [{"name": PRODUCT, "type": "manufacturer-name"}],
        "type": {"coding": [dict(_AI_DEVICE_TYPE)], "text": "Similar-case comparison"},
        "version": [
            {"type": local_concept(kind, kind.replace("-", " ")), "value": value}
            for kind, value in parts.items()
            if value
        ],
        "note": [{"text": INVESTIGATIONAL}],
    }


def provenance_from_report(
    report: CaseReport, *, targets: Sequence[str], sources: Sequence[str]
) -> dict[str, Any]:
    """Return who made the resources and from what.

    Parameters
    ----------
    report
        The answer.
    targets
        References to the resources made.
    sources
        References to the resources read.

    """
    provenance: dict[str, Any] = {
        "resourceType": "Provenance",
        "id": f"{report.report_id}-provenance",
        "meta": meta(report),
        "target": [{"reference": target} for target in targets],
        "occurredDateTime": instant(report.created_at),
        "recorded": instant(report.created_at),
        "reason": [{"coding": [dict(AIAST)]}],
        "agent": [
            {
                "type": {"coding": [dict(_AUTHOR)]},
                "who": {"reference": f"Device/{device_id(report)}"},
            }
        ],
    }
    if sources:
        provenance["entity"] = [
            {"role": "source", "what": {"reference": source}} for source in sources
        ]
    return provenance


def instant(moment: datetime) -> str:
    """Return a FHIR instant in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_concept(code: str, words: str) -> dict[str, Any]:
    """Return a CodeableConcept of our own code system."""
    return {"coding": [{"system": LOCAL, "code": code, "display": words}], "text": words}
