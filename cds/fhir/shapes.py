"""Tolerant looks into FHIR JSON: what has the wrong shape is as if it were absent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Resource = Mapping[str, Any]

_ID_AT_END = re.compile(
    r"(?:^|/)(?P<type>[A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/.+)?$"
)
ACCESSION_SYSTEM = "http://terminology.hl7.org/CodeSystem/v2-0203"
ACCESSION_CODE = "ACSN"


def mapping(value: object) -> Resource:
    """Return a JSON object, or an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> tuple[Resource, ...]:
    """Return the JSON objects of an array; anything else in it is dropped."""
    if not isinstance(value, list):
        return ()
    return tuple(item for item in value if isinstance(item, Mapping))


def text(value: object) -> str | None:
    """Return a stripped, non-empty string without zero-width spaces, or None.

    Examples
    --------
    >>> text("  Chest "), text(""), text(3)
    ('Chest', None, None)

    """
    if not isinstance(value, str):
        return None
    stripped = value.replace("\u200b", "").strip()
    return stripped or None


def whole_number(value: object) -> int | None:
    """Return a JSON integer, or None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def codings(concept: object) -> tuple[Resource, ...]:
    """Return the codings of a CodeableConcept."""
    return items(mapping(concept).get("coding"))


def has_code(concept: object, *codes: str) -> bool:
    """Tell whether a CodeableConcept has one of the codes in whatever system."""
    return any(text(coding.get("code")) in codes for coding in codings(concept))


def concept_text(concept: object) -> str | None:
    """Return what a CodeableConcept is called: its text, else the first display."""
    displays = (text(coding.get("display")) for coding in codings(concept))
    return text(mapping(concept).get("text")) or next((d for d in displays if d), None)


def reference_id(reference: object, resource_type: str) -> str | None:
    """Return the logical id that a Reference points to, if it points to that type.

    Examples
    --------
    >>> reference_id({"reference": "https://ehr.example.invalid/fhir/Patient/7"}, "Patient")
    '7'
    >>> reference_id({"reference": "urn:uuid:0c5a"}, "Patient")
    '0c5a'
    >>> reference_id({"reference": "Group/7"}, "Patient") is None
    True

    """
    target = text(mapping(reference).get("reference"))
    if target is None:
        return None
    if target.startswith("urn:uuid:"):
        return target.removeprefix("urn:uuid:")
    match = _ID_AT_END.search(target)
    return match["id"] if match and match["type"] == resource_type else None


def subject_id(resource: Resource) -> str | None:
    """Return the Patient that a resource is about, or None if it does not say."""
    return reference_id(resource.get("subject") or resource.get("patient"), "Patient")


def accession_numbers(resource: Resource) -> tuple[str, ...]:
    """Return the identifiers of type ACSN."""
    return tuple(
        value
        for identifier in items(resource.get("identifier"))
        if has_code(identifier.get("type"), ACCESSION_CODE)
        and (value := text(identifier.get("value")))
    )
