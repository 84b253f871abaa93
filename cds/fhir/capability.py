"""What a CapabilityStatement says: the release of FHIR and the types that are served."""

from __future__ import annotations

from cds.fhir.shapes import items, mapping, text


def release_of(statement: object) -> str | None:
    """Return `fhirVersion`, for example ``4.0.1``; None if it is no CapabilityStatement."""
    document = mapping(statement)
    if document.get("resourceType") != "CapabilityStatement":
        return None
    return text(document.get("fhirVersion"))


def read_types(statement: object) -> frozenset[str]:
    """Return the resource types that the server announces."""
    return frozenset(
        kind
        for rest in items(mapping(statement).get("rest"))
        for resource in items(rest.get("resource"))
        if (kind := text(resource.get("type")))
    )
