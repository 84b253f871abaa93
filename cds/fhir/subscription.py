"""FHIR R4 Subscription with a rest-hook for ImagingStudy, and what its notifications hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cds.fhir.shapes import items, mapping, text

if TYPE_CHECKING:
    from cds.fhir.shapes import Resource

CRITERIA = "ImagingStudy?status=available"
NOTIFICATION_HEADER = "X-Precedent-Subscription"
MAX_NOTIFIED = 50
_FHIR_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9\-.]{1,64}")  # it becomes part of a path


def subscription(*, endpoint: str, secret: str, with_payload: bool) -> dict[str, Any]:
    """Return the Subscription to create at an EHR.

    Parameters
    ----------
    endpoint
        Our address for this subscription.
    secret
        Value of the header that each notification must carry.
    with_payload
        True asks for the ImagingStudy in the body; False for a notification without content, after
        which new studies are looked for.

    References
    ----------
    FHIR R4, Subscription, ``channel.type`` rest-hook.

    """
    channel: dict[str, Any] = {
        "type": "rest-hook",
        "endpoint": endpoint,
        "header": [f"{NOTIFICATION_HEADER}: {secret}"],
    }
    if with_payload:
        channel["payload"] = "application/fhir+json"
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Analyse imaging studies as they arrive (investigational)",
        "criteria": CRITERIA,
        "channel": channel,
    }


def notified_study_ids(document: object) -> tuple[str, ...]:
    """Return the ids of the ImagingStudies that a notification names; its contents are not trusted.

    Examples
    --------
    >>> notified_study_ids({"resourceType": "ImagingStudy", "id": "s1"})
    ('s1',)
    >>> notified_study_ids({"resourceType": "Patient", "id": "s1"})
    ()

    """
    resource = mapping(document)
    entries = (mapping(entry.get("resource")) for entry in items(resource.get("entry")))
    named = (resource, *entries)
    found = (_study_id(one) for one in named)
    return tuple(dict.fromkeys(one for one in found if one))[:MAX_NOTIFIED]


def _study_id(resource: Resource) -> str | None:
    """Return a study's id; what is no FHIR id is not kept, nor asked for."""
    found = text(resource.get("id")) if resource.get("resourceType") == "ImagingStudy" else None
    return found if found is not None and _FHIR_ID.fullmatch(found) else None
