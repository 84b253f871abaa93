"""The card of the image model as DocumentReference, linked from the Device of each answer.

A card is about one set of weights: only answers that were made with them refer to it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, Any

from cds.domain.source_attributes import REGULATION, attribute_table
from cds.fhir.ai_label import (
    AI_MODEL_CARD,
    DEVICE_SYSTEM,
    MARKDOWN_FORMAT,
    device_from_report,
    device_id,
    device_with_model_card,
)

if TYPE_CHECKING:
    from cds.domain.report import CaseReport
    from cds.domain.source_attributes import SourceAttributeCard

_VERSION_CHARACTERS = 16


def described_device(report: CaseReport, card: SourceAttributeCard | None) -> dict[str, Any]:
    """Return the Device of an answer, with a link to the card if it is about the same weights."""
    device = device_from_report(report)
    documents = model_card_documents(report, card)
    if not documents:
        return device
    return device_with_model_card(device, f"DocumentReference/{documents[0]['id']}")


def model_card_documents(
    report: CaseReport, card: SourceAttributeCard | None
) -> tuple[dict[str, Any], ...]:
    """Return the card as DocumentReference of an answer's Device.

    Parameters
    ----------
    report
        The answer.
    card
        Of the image model in force, or None.

    Returns
    -------
    tuple of dict
        One resource, or none where the answer was made with other weights. Its attachments are the
        table of the 31 attributes as Markdown, and the same as JSON.

    References
    ----------
    HL7 AI Transparency on FHIR (ballot), AIModelCard and ModelCardDescription.

    """
    if card is None or card.encoder_hash != report.versions.encoder_hash:
        return ()
    markdown = f"# {_title(card)}\n\n{attribute_table(card.statements)}\n".encode()
    plain = json.dumps(card.to_json(), ensure_ascii=False).encode()
    resource: dict[str, Any] = {
        "resourceType": "DocumentReference",
        "id": f"{report.report_id}-model-card",
        "meta": {"versionId": sha256(plain).hexdigest()[:_VERSION_CHARACTERS]},
        "identifier": [{"system": DEVICE_SYSTEM, "value": card.encoder_hash}],
        "status": "current",
        "type": {"coding": [dict(AI_MODEL_CARD)]},
        "category": [{"coding": [dict(MARKDOWN_FORMAT)]}],
        "subject": {"reference": f"Device/{device_id(report)}"},
        "description": (
            f"{_title(card)}: the source attributes of {REGULATION}, "
            f"{card.n_available} of {len(card.statements)} available"
        ),
        "content": [
            {"attachment": _attachment("text/markdown", markdown)},
            {"attachment": _attachment("application/json", plain)},
        ],
    }
    if card.stated_on:
        resource["date"] = f"{card.stated_on}T00:00:00Z"
    return (resource,)


def _title(card: SourceAttributeCard) -> str:
    return f"Card of the image model {card.encoder_name}"


def _attachment(content_type: str, content: bytes) -> dict[str, Any]:
    digest = sha1(content, usedforsecurity=False).digest()  # what FHIR R4 asks for
    return {
        "contentType": content_type,
        "data": b64encode(content).decode(),
        "size": len(content),
        "hash": b64encode(digest).decode(),
    }
