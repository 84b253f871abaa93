"""Who is signed in: validation of the id_token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from joserfc.jwk import KeySetSerialization

ALGORITHMS = ("RS256",)  # SMART App Launch 2.2 and Inferno: id_tokens are signed RS256
LEEWAY_S = 60  # clocks of two hospitals' servers
MAX_SUB_CHARACTERS = 255  # OpenID Connect Core, 2
MAX_ID_TOKEN_CHARACTERS = 16_384
_NOT_CLINICIANS = frozenset({"Patient", "RelatedPerson"})


@dataclass(frozen=True, slots=True, repr=False)
class SignedInUser:
    """A user whom the EHR vouches for.

    Attributes
    ----------
    subject
        `sub`, unique within the issuer.
    fhir_user
        ``Practitioner/…``, relative where it lies on the EHR's own FHIR server; None if not given.

    """

    subject: str
    fhir_user: str | None

    @property
    def who(self) -> str:
        """Return what audit records call this user."""
        return self.fhir_user or self.subject

    def __repr__(self) -> str:
        return "SignedInUser(<redacted>)"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the id_token of one launch must say."""

    issuer: str
    client_id: str
    nonce: str
    fhir_base_url: str
    now: datetime


def verified_user(
    unverified_id_token: str, jwks: Mapping[str, Any], expected: Expected
) -> SignedInUser:
    """Verify signature and claims of an id_token.

    Raises
    ------
    CdsError
        NOT_AUTHENTICATED if anything about the token is wrong; NOT_AUTHORIZED if the user is a
        patient or a relative: this app is for clinicians.

    References
    ----------
    OpenID Connect Core 1.0, 3.1.3.7; SMART App Launch 2.2, "fhirUser".

    """
    claims = _signed_claims(unverified_id_token, jwks)
    _check_claims(claims, expected)
    fhir_user = _fhir_user(claims.get("fhirUser") or claims.get("profile"), expected)
    if not _NOT_CLINICIANS.isdisjoint((fhir_user or "").split("/")):
        raise CdsError(
            Reason.NOT_AUTHORIZED,
            "This app is for clinicians. Ask the team that treats you about your pictures.",
        )
    return SignedInUser(str(claims["sub"]), fhir_user)


def _signed_claims(unverified_id_token: str, jwks: Mapping[str, Any]) -> dict[str, Any]:
    if len(unverified_id_token) > MAX_ID_TOKEN_CHARACTERS:
        raise _refused("it is too long")
    try:
        keys = KeySet.import_key_set(cast("KeySetSerialization", dict(jwks)))
        return jwt.decode(unverified_id_token, keys, algorithms=list(ALGORITHMS)).claims
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        raise _refused("its signature does not verify") from None


def _check_claims(claims: dict[str, Any], expected: Expected) -> None:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    subject = claims.get("sub")
    now_s = expected.now.timestamp()
    checks = (
        (claims.get("iss") == expected.issuer, "it comes from another issuer"),
        (expected.client_id in audiences, "it is for another app"),
        (
            len(audiences) == 1 or claims.get("azp") == expected.client_id,
            "it was given to another app",
        ),
        (_number(claims.get("exp")) + LEEWAY_S > now_s, "it has expired"),
        (_number(claims.get("iat"), now_s) - LEEWAY_S <= now_s, "it is from the future"),
        (claims.get("nonce") == expected.nonce, "it belongs to another launch"),
        (
            isinstance(subject, str) and 0 < len(subject.strip()) <= MAX_SUB_CHARACTERS,
            "it names nobody",
        ),
    )
    for holds, why in checks:
        if not holds:
            raise _refused(why)


def _number(value: object, default: float = 0.0) -> float:
    return float(value) if isinstance(value, int | float) else default


def _fhir_user(value: object, expected: Expected) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    return value.strip().removeprefix(expected.fhir_base_url.rstrip("/") + "/")


def _refused(why: str) -> CdsError:
    return CdsError(
        Reason.NOT_AUTHENTICATED,
        f"The EHR's proof of who is signed in was refused: {why}. "
        "Start the app again from the chart; if it happens again, tell your EHR administrator.",
    )
