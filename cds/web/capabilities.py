"""What the FHIR API says that it can do; it lists only what works."""

from __future__ import annotations

from typing import Any

STATED_ON = "2026-11-27"  # when the statement last changed
_SECURITY_SERVICE = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
            "code": "SMART-on-FHIR",
            "display": "SMART-on-FHIR",
        }
    ]
}
_SEARCH_PARAMETERS = (
    ("_id", "token", "Resource-id"),
    ("patient", "reference", "clinical-patient"),
    ("subject", "reference", "DiagnosticReport-subject"),
    ("category", "token", "DiagnosticReport-category"),
    ("code", "token", "clinical-code"),
    ("identifier", "token", "clinical-identifier"),
    ("status", "token", "DiagnosticReport-status"),
)


def capability_statement(base_url: str, *, software_version: str) -> dict[str, Any]:
    """Return the CapabilityStatement of the API at `base_url`.

    References
    ----------
    FHIR R4, CapabilityStatement.

    """
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": STATED_ON,
        "kind": "instance",
        "software": {"name": "Precedent", "version": software_version},
        "implementation": {
            "description": (
                "Similar-case comparisons by software (investigational): not radiology reports"
            ),
            "url": base_url,
        },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [_server()],
    }


def _server() -> dict[str, Any]:
    parameters = [
        {
            "name": name,
            "type": kind,
            "definition": f"http://hl7.org/fhir/SearchParameter/{definition}",
        }
        for name, kind, definition in _SEARCH_PARAMETERS
    ]
    return {
        "mode": "server",
        "security": {
            "cors": True,
            "service": [_SECURITY_SERVICE],
            "description": (
                "Access tokens of the EHR's own authorization server, checked there by "
                "introspection; a patient-scoped token sees its patient only."
            ),
        },
        "resource": [
            {**_served("DiagnosticReport", "read", "search-type"), "searchParam": parameters},
            _served("Observation", "read"),
            _served("Device", "read"),
            _served("DocumentReference", "read"),
        ],
    }


def _served(resource_type: str, *interactions: str) -> dict[str, Any]:
    return {
        "type": resource_type,
        "interaction": [{"code": code} for code in interactions],
        "versioning": "no-version",
        "readHistory": False,
        "updateCreate": False,
    }
