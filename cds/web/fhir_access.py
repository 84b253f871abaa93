"""Who may read our FHIR resources: the EHR's own access token, held to its patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from flask import g, request

from cds.domain.errors import CdsError, Reason
from cds.domain.secrecy import SecretText
from cds.web.access import AccessPolicy
from cds.web.engine_surface import TokenClaims, current_engine
from cds.web.scopes import Level, levels_granting
from cds.web.tenant import current_registration


@dataclass(frozen=True, slots=True)
class FhirRight:
    """What the checked token of this request allows.

    Attributes
    ----------
    patient_id
        The only patient whose resources may be seen; None for a token of the whole EHR.
    who
        User, where there is one, and client of the token, for the audit trail.

    """

    patient_id: str | None
    who: str


def fhir_token(resource_type: str, right: str) -> AccessPolicy:
    """Return the policy that asks for a token whose scopes grant a right on a resource type.

    Parameters
    ----------
    resource_type
        For example ``DiagnosticReport``.
    right
        ``r`` for read, ``s`` for search.

    References
    ----------
    SMART App Launch 2.2, Scopes, Token Introspection; RFC 6750, 3.1; RFC 7662.

    """

    def check(_arguments: dict[str, Any]) -> None:
        claims = _active_claims()
        levels = levels_granting(claims.scope, resource_type, right)
        g.fhir_right = _right(claims, levels)

    return AccessPolicy("fhir-token", check)


def current_right() -> FhirRight:
    """Return what the token of the current request allows."""
    return cast("FhirRight", g.fhir_right)


def _active_claims() -> TokenClaims:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise CdsError(Reason.NOT_AUTHENTICATED, "An access token of this EHR is required.")
    engine = current_engine()
    try:
        claims = engine.fhir_token(current_registration(), SecretText(token.strip()))
    except CdsError as error:
        if error.reason is Reason.NOT_AUTHENTICATED:
            raise _not_active() from None
        raise
    if claims.expires_at <= engine.clock.now():
        raise _not_active()
    return claims


def _not_active() -> CdsError:
    return CdsError(
        Reason.NOT_AUTHENTICATED,
        "The access token is not active at this EHR's authorization server.",
        oauth_error="invalid_token",
    )


def _right(claims: TokenClaims, levels: frozenset[Level]) -> FhirRight:
    """Return the widest right that the token states beyond doubt.

    A `user/` scope reaches what that user may see at the EHR, which we cannot ask: only a
    clinician's counts, and a patient in the token's context narrows it.

    Raises
    ------
    CdsError
        NOT_AUTHORIZED if there is none.

    """
    who = f"{claims.subject} via {claims.client_id}" if claims.subject else claims.client_id
    if Level.SYSTEM in levels:
        return FhirRight(None, claims.client_id)
    if levels and claims.patient_id:
        return FhirRight(claims.patient_id, who)
    if Level.USER in levels and _is_clinician(claims.fhir_user):
        return FhirRight(None, who)
    raise CdsError(
        Reason.NOT_AUTHORIZED,
        "The access token's scopes, with its patient or clinician (fhirUser), do not grant this.",
        oauth_error="insufficient_scope",
    )


def _is_clinician(fhir_user: str | None) -> bool:
    kind = (fhir_user or "").split("/")[-2:-1]
    return kind in (["Practitioner"], ["PractitionerRole"])
