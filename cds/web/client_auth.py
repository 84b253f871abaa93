"""Is this call from a CDS client that we trust: the JWT of CDS Hooks, checked claim by claim."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from cds.domain.errors import CdsError, Reason
from cds.domain.registration import CdsClient, EhrRegistration
from cds.ports import Deadline
from cds.web.engine_surface import MachineEngine
from cds.web.key_sets import KeySets

ALGORITHMS = {"ES384": "EC", "RS384": "RSA"}  # CDS Hooks 2.0.1 recommends both; nothing else is on
LEEWAY = timedelta(seconds=30)  # clocks of two hosts differ
MAX_LIFETIME = timedelta(minutes=10)  # the specification sets none; its own tools use 5 minutes
MAX_TOKEN_CHARS = 8192
MIN_RSA_BYTES = 256  # 2048 bits, RFC 7518 3.3
MAX_JTI_CHARS = 300


@dataclass(frozen=True, slots=True)
class VerifiedClient:
    """A CDS client whose token was checked; only `verify` makes one."""

    issuer: str
    ehr_id: str


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """What a token is checked against.

    Attributes
    ----------
    audience
        The called URL exactly as seen from outside.
    deadline
        Of the whole call: fetching a key set counts.

    """

    engine: MachineEngine
    registration: EhrRegistration
    key_sets: KeySets
    audience: str
    deadline: Deadline


def verify(token: str, check: TokenCheck) -> VerifiedClient:
    """Return the client that signed `token` for exactly this call.

    Parameters
    ----------
    token
        Compact JWT from the Authorization header.
    check
        What it must agree with.

    Raises
    ------
    CdsError
        NOT_AUTHENTICATED; the sentence names the claim or header that is wrong, never its value.

    References
    ----------
    CDS Hooks 2.0.1, Trusting CDS Clients; RFC 7519; RFC 8725.

    """
    header, unverified_claims = _unverified(token)
    client = _registered_client(unverified_claims.get("iss"), check.registration)
    _check_header(header, client)
    claims = _verified_claims(token, header, client, check)
    expires_at = _check_claims(claims, check)
    _accept_once(claims.get("jti"), client, expires_at, check)
    return VerifiedClient(client.issuer, check.registration.ehr_id)


def _refused(what: str) -> CdsError:
    return CdsError(
        Reason.NOT_AUTHENTICATED,
        f"The JWT of the CDS client was refused: {what}.",
        oauth_error="invalid_token",
    )


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MAX_TOKEN_CHARS:
        raise _refused("it is no compact JWT")
    try:
        header, claims = (orjson.loads(_base64url(part)) for part in parts[:2])
    except (binascii.Error, ValueError):
        raise _refused("it is no compact JWT") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _refused("it is no compact JWT")
    return header, claims


def _base64url(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _registered_client(issuer: object, registration: EhrRegistration) -> CdsClient:
    for client in registration.cds_clients:
        if client.issuer == issuer:
            return client
    raise _refused("iss is not registered for this EHR")


def _check_header(header: Mapping[str, Any], client: CdsClient) -> None:
    if header.get("alg") not in ALGORITHMS:
        raise _refused("alg must be ES384 or RS384")
    if str(header.get("typ", "")).upper() != "JWT":
        raise _refused("typ must be JWT")
    if not isinstance(header.get("kid"), str) or not header["kid"]:
        raise _refused("kid is missing")
    if client.jku is not None and header.get("jku", client.jku) != client.jku:
        raise _refused("jku is not the registered one")


def _verified_claims(
    token: str, header: Mapping[str, Any], client: CdsClient, check: TokenCheck
) -> Mapping[str, Any]:
    """Return the claims after the signature was checked with exactly one key."""
    jwks = check.key_sets.keys_with_id(
        check.engine, check.registration, client, header["kid"], deadline=check.deadline
    )
    usable = [jwk for jwk in jwks if jwk.get("kty") == ALGORITHMS[header["alg"]]]
    if len(usable) != 1:
        raise _refused("kid names no single key of the registered key set")
    try:
        key = _public_key(usable[0], header["alg"])
        return jwt.decode(token, key, algorithms=[header["alg"]]).claims
    except (JoseError, ValueError, TypeError, KeyError):
        raise _refused("its signature does not fit the registered key") from None


def _public_key(jwk: Mapping[str, Any], alg: str) -> ECKey | RSAKey:
    """Return the key, if it is one that the algorithm allows.

    Raises
    ------
    ValueError
        If the curve or the key size does not fit.

    """
    if alg == "ES384":
        if jwk.get("crv") != "P-384":
            raise ValueError("ES384 needs P-384")
        return ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})
    if len(_base64url(str(jwk["n"])).lstrip(b"\0")) < MIN_RSA_BYTES:
        raise ValueError("an RSA key has at least 2048 bits")
    return RSAKey.import_key({name: jwk[name] for name in ("kty", "n", "e")})


def _check_claims(claims: Mapping[str, Any], check: TokenCheck) -> datetime:
    """Return the time of expiry after aud, exp, iat and nbf were checked."""
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if check.audience not in audiences:
        raise _refused("aud is not the address that was called")
    now = check.engine.clock.now()
    expires_at, issued_at = _moment(claims, "exp"), _moment(claims, "iat")
    if expires_at + LEEWAY <= now:
        raise _refused("exp has passed")
    if issued_at - LEEWAY > now:
        raise _refused("iat lies in the future")
    if expires_at - issued_at > MAX_LIFETIME:
        raise _refused("it lives longer than 10 minutes")
    if "nbf" in claims and _moment(claims, "nbf") - LEEWAY > now:
        raise _refused("nbf lies in the future")
    return expires_at


def _accept_once(jti: object, client: CdsClient, expires_at: datetime, check: TokenCheck) -> None:
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_CHARS:
        raise _refused("jti is missing")
    is_new = check.engine.seen_tokens.accept_once(
        check.registration.ehr_id, client.issuer, jti, expires_at=expires_at + LEEWAY
    )
    if not is_new:
        raise _refused("jti was used before")


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(f"{name} is missing")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        raise _refused(f"{name} is no time") from None
