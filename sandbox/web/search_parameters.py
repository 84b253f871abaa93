"""Which FHIR R4 search parameters the store knows, and where each one looks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """How a search parameter's value is compared."""

    TOKEN = "token"  # noqa: S105  # FHIR's word for a code
    REFERENCE = "reference"
    DATE = "date"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One parameter: how it compares, and the element paths that it reads."""

    kind: Kind
    paths: tuple[str, ...]


def _token(*paths: str) -> SearchParameter:
    return SearchParameter(Kind.TOKEN, paths)


def _reference(*paths: str) -> SearchParameter:
    return SearchParameter(Kind.REFERENCE, paths)


def _date(*paths: str) -> SearchParameter:
    return SearchParameter(Kind.DATE, paths)


def _string(*paths: str) -> SearchParameter:
    return SearchParameter(Kind.STRING, paths)


_SUBJECT = {"patient": _reference("subject"), "subject": _reference("subject")}
_EVERY_TYPE = {"_id": _token("id"), "_lastUpdated": _date("meta.lastUpdated")}

# Source: HL7 FHIR R4 4.0.1, search parameter registry (modality reads series.modality only).
PARAMETERS: dict[str, dict[str, SearchParameter]] = {
    "Patient": {
        "identifier": _token("identifier"),
        "birthdate": _date("birthDate"),
        "gender": _token("gender"),
        "family": _string("name.family"),
        "name": _string("name.family", "name.given", "name.text"),
    },
    "Condition": {
        **_SUBJECT,
        "clinical-status": _token("clinicalStatus"),
        "category": _token("category"),
        "code": _token("code"),
        "encounter": _reference("encounter"),
        "recorded-date": _date("recordedDate"),
        "onset-date": _date("onsetDateTime"),
    },
    "Observation": {
        **_SUBJECT,
        "category": _token("category"),
        "code": _token("code"),
        "date": _date("effectiveDateTime", "effectiveInstant", "effectivePeriod"),
        "encounter": _reference("encounter"),
        "status": _token("status"),
    },
    "ImagingStudy": {
        **_SUBJECT,
        "identifier": _token("identifier"),
        "started": _date("started"),
        "status": _token("status"),
        "modality": _token("series.modality"),
        "bodysite": _token("series.bodySite"),
        "basedon": _reference("basedOn"),
        "encounter": _reference("encounter"),
        "endpoint": _reference("endpoint", "series.endpoint"),
    },
    "DiagnosticReport": {
        **_SUBJECT,
        "identifier": _token("identifier"),
        "category": _token("category"),
        "code": _token("code"),
        "date": _date("effectiveDateTime", "effectivePeriod"),
        "issued": _date("issued"),
        "status": _token("status"),
        "based-on": _reference("basedOn"),
        "encounter": _reference("encounter"),
    },
    "ServiceRequest": {
        **_SUBJECT,
        "identifier": _token("identifier"),
        "status": _token("status"),
        "intent": _token("intent"),
        "category": _token("category"),
        "code": _token("code"),
        "authored": _date("authoredOn"),
        "encounter": _reference("encounter"),
    },
    "Encounter": {
        **_SUBJECT,
        "identifier": _token("identifier"),
        "status": _token("status"),
        "class": _token("class"),
        "date": _date("period"),
    },
    "MedicationRequest": {
        **_SUBJECT,
        "status": _token("status"),
        "intent": _token("intent"),
        "code": _token("medicationCodeableConcept"),
        "authoredon": _date("authoredOn"),
    },
    "Procedure": {
        **_SUBJECT,
        "status": _token("status"),
        "code": _token("code"),
        "date": _date("performedDateTime", "performedPeriod"),
    },
    "AllergyIntolerance": {
        "patient": _reference("patient"),
        "clinical-status": _token("clinicalStatus"),
        "code": _token("code"),
    },
    "Consent": {"patient": _reference("patient"), "status": _token("status")},
    "Endpoint": {
        "identifier": _token("identifier"),
        "status": _token("status"),
        "connection-type": _token("connectionType"),
    },
    "Practitioner": {
        "identifier": _token("identifier"),
        "name": _string("name.family", "name.given", "name.text"),
    },
    "Organization": {"identifier": _token("identifier"), "name": _string("name")},
    "Location": {"identifier": _token("identifier"), "name": _string("name")},
}

INCLUDES: dict[str, tuple[str, ...]] = {
    "ImagingStudy:endpoint": ("endpoint", "series.endpoint"),
    "ImagingStudy:patient": ("subject",),
    "ImagingStudy:basedon": ("basedOn",),
    "DiagnosticReport:based-on": ("basedOn",),
    "DiagnosticReport:result": ("result",),
    "Observation:patient": ("subject",),
}


def parameter_for(resource_type: str, name: str) -> SearchParameter | None:
    """Return what the store knows about a search parameter, or None."""
    return _EVERY_TYPE.get(name) or PARAMETERS[resource_type].get(name)


def values_at(resource: dict[str, Any], path: str) -> list[Any]:
    """Return every value at a dotted element path; lists on the way are flattened.

    Examples
    --------
    >>> values_at({"series": [{"modality": {"code": "CR"}}, {}]}, "series.modality")
    [{'code': 'CR'}]

    """
    found: list[Any] = [resource]
    for element in path.split("."):
        following: list[Any] = []
        for value in found:
            inner = value.get(element) if isinstance(value, dict) else None
            if inner is not None:
                following.extend(inner if isinstance(inner, list) else [inner])
        found = following
    return found
