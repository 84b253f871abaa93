"""Which browser pages of other origins may call the machine doors."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Response, g, request

from cds.domain.registration import EhrRegistration

ALLOWED_HEADERS = "Authorization, Content-Type, Accept, If-None-Match, Prefer"
PREFLIGHT_S = "600"
_OPEN_ENDPOINTS = ("discovery", "capabilities", "smart_configuration")


def registered_origins(registration: EhrRegistration) -> frozenset[str]:
    """Return the origins of an EHR: of its FHIR server, and those that it registered.

    Examples
    --------
    >>> sorted(registered_origins(EhrRegistration("a", "A", "https://ehr.example.invalid/r4", "c")))
    ['https://ehr.example.invalid']

    """
    own = urlsplit(registration.fhir_base_url)
    return frozenset(
        {f"{own.scheme}://{own.netloc}", *registration.origins, *registration.frame_ancestors}
    )


def apply_cors(response: Response) -> Response:
    """Let registered origins read the answer; metadata may be read by any origin."""
    origin = request.headers.get("Origin")
    endpoint = request.endpoint or ""
    blueprint, _, view = endpoint.partition(".")
    if origin is None or blueprint not in {"hooks", "fhir", "fhir_alias"}:
        return response
    if view in _OPEN_ENDPOINTS:
        _allow(response, "*")
        return response
    response.vary.add("Origin")
    registration = g.get("registration")
    if registration is not None and origin in registered_origins(registration):
        _allow(response, origin)
    return response


def _allow(response: Response, origin: str) -> None:
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = "ETag, WWW-Authenticate"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(response.allow))
        response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        response.headers["Access-Control-Max-Age"] = PREFLIGHT_S
