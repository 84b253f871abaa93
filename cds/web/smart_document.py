"""Where tokens for the FHIR API come from, as its SMART configuration says."""

from __future__ import annotations

from typing import Any

from cds.web.engine_surface import SmartEndpoints

SERVED_SCOPES = tuple(
    f"{level}/{resource}"
    for level in ("patient", "user", "system")
    for resource in ("DiagnosticReport.rs", "Observation.r", "Device.r")
)


def smart_document(endpoints: SmartEndpoints) -> dict[str, Any]:
    """Return the SMART configuration: tokens come from the EHR's authorization server.

    References
    ----------
    SMART App Launch 2.2, Conformance.

    """
    optional = {
        "authorization_endpoint": endpoints.authorization_endpoint,
        "introspection_endpoint": endpoints.introspection_endpoint,
    }
    return {
        "token_endpoint": endpoints.token_endpoint,
        **{name: value for name, value in optional.items() if value},
        "grant_types_supported": ["authorization_code", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": list(SERVED_SCOPES),
        "capabilities": ["permission-patient", "permission-user", "permission-v1", "permission-v2"],
    }
