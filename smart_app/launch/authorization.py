"""Start of a launch: state, PKCE, nonce and the address that the browser is sent to."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration
from smart_app.engine_port import SmartConfiguration
from smart_app.launch.scopes import requested_scopes

SECRET_BYTES = 32  # SMART App Launch 2.2 asks for at least 122 bits in `state`


@dataclass(frozen=True, slots=True, repr=False)
class PendingLaunch:
    """What must be remembered, server-side, until the browser comes back.

    Attributes
    ----------
    browser_hash
        SHA-256 (hex) of the secret in the browser's cookie: only that browser may come back.
    issuer
        Of id_tokens and of the callback's `iss` (RFC 9207).
    sends_issuer
        Whether the server promised that `iss`: then an answer without it is another server's.

    """

    browser_hash: str
    code_verifier: str
    nonce: str
    redirect_uri: str
    token_endpoint: str
    issuer: str
    jwks_uri: str
    sends_issuer: bool = False

    def to_payload(self) -> dict[str, Any]:
        """Return JSON-compatible members."""
        return asdict(self)

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> PendingLaunch:
        """Read what `to_payload` wrote."""
        return cls(**payload)

    def __repr__(self) -> str:
        return "PendingLaunch(<redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class StartedLaunch:
    """A launch that was just started: where to send the browser, and what it has to keep."""

    authorize_url: str
    state: str
    browser_secret: str
    pending: PendingLaunch

    def __repr__(self) -> str:
        return "StartedLaunch(<redacted>)"


def start_launch(
    registration: EhrRegistration,
    configuration: SmartConfiguration,
    *,
    launch: str,
    redirect_uri: str,
    is_development: bool,
) -> StartedLaunch:
    """Prepare the authorization request of an EHR launch.

    Raises
    ------
    CdsError
        UPSTREAM_FAILED if the EHR's configuration lacks what a launch needs.

    References
    ----------
    SMART App Launch 2.2, "Launch App: EHR Launch"; RFC 7636; OpenID Connect Core 3.1.2.1.

    """
    authorize = _page_address(configuration.authorization_endpoint, is_development=is_development)
    if not configuration.issuer or not configuration.jwks_uri:
        raise CdsError(
            Reason.UPSTREAM_FAILED,
            "The EHR's SMART configuration does not offer sign-in (issuer and jwks_uri). "
            "Ask your EHR administrator to enable sso-openid-connect for this app.",
        )
    code_verifier, nonce, state, browser_secret = (
        secrets.token_urlsafe(SECRET_BYTES) for _ in range(4)
    )
    url = prepare_grant_uri(
        authorize,
        registration.client_id,
        "code",
        redirect_uri,
        requested_scopes(configuration.capabilities),
        state,
        aud=registration.fhir_base_url,
        launch=launch,
        nonce=nonce,
        code_challenge=create_s256_code_challenge(code_verifier),
        code_challenge_method="S256",
    )
    pending = PendingLaunch(
        browser_hash=hash_of(browser_secret),
        code_verifier=code_verifier,
        nonce=nonce,
        redirect_uri=redirect_uri,
        token_endpoint=configuration.token_endpoint,
        issuer=configuration.issuer,
        jwks_uri=configuration.jwks_uri,
        sends_issuer=configuration.authorization_response_iss_parameter_supported,
    )
    return StartedLaunch(url, state, browser_secret, pending)


def hash_of(secret: str) -> str:
    """Return SHA-256 (hex) of an unguessable text."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _page_address(url: str | None, *, is_development: bool) -> str:
    """Return an address that a browser may be sent to: https, or http in development."""
    allowed = {"https", "http"} if is_development else {"https"}
    if url is None or urlsplit(url).scheme not in allowed:
        raise CdsError(
            Reason.UPSTREAM_FAILED,
            "The EHR's SMART configuration has no usable authorization_endpoint. "
            "Ask your EHR administrator to check it.",
        )
    return url
