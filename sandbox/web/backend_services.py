"""SMART Backend Services at the sandbox's token server: tokens for a registered system, no user."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from sandbox.web.accounts import Account
from sandbox.web.places import Places
from sandbox.web.scopes import grantable_to_systems

if TYPE_CHECKING:
    from authlib.integrations.flask_oauth2 import AuthorizationServer


GRANT, METHOD = "client_credentials", "private_key_jwt"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("ES384", "RS384")
LONGEST_ASSERTION_S = 300  # Source: SMART App Launch 2.2, client authentication: asymmetric
TOKEN_LIFETIME_S = 300  # Source: SMART App Launch 2.2, backend services
KEY_SET_TIMEOUT_S = 5.0
SYSTEM_ACCOUNT = Account(
    "precedent-backend", "Precedent (system)", "System", "Device/precedent-backend"
)


@dataclass(frozen=True, slots=True)
class RegisteredSystem:
    """A system that signs in with its own key; methods are authlib's names."""

    client_id: str
    key_set_url: str

    def get_client_id(self) -> str:
        """Return the client id."""
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Return what is granted of a requested scope, or None if nothing is left."""
        return grantable_to_systems(scope or "") or None

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """Tell whether the system may authenticate this way."""
        return method == METHOD

    def check_grant_type(self, grant_type: str) -> bool:
        """Tell whether the grant type is allowed."""
        return grant_type == GRANT

    def check_client_secret(self, _client_secret: str) -> bool:
        """Return False: a system has no secret."""
        return False

    def check_redirect_uri(self, _redirect_uri: str) -> bool:
        """Return False: a system is never redirected to."""
        return False

    def check_response_type(self, _response_type: str) -> bool:
        """Return False: a system asks no person."""
        return False


class SystemGrant(ClientCredentialsGrant):  # type: ignore[misc]  # authlib ships no types
    """Client credentials, with a signed assertion only."""

    TOKEN_ENDPOINT_AUTH_METHODS = (METHOD,)


@dataclass(slots=True)
class AssertionCheck:
    """Finds the system that signed an assertion; None refuses it (invalid_client).

    The key set is fetched at each request, as fresh as the system publishes it.
    """

    places: Places
    _seen: dict[str, float] = field(default_factory=dict)

    def __call__(self, query_client: Any, request: Any) -> Any:  # noqa: ANN401  # authlib's types
        """Return the registered system, or None."""
        form = request.payload.data
        assertion = form.get("client_assertion", "")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            return None
        try:
            unverified = json.loads(jws.extract_compact(assertion.encode()).payload)
            system = query_client(unverified["iss"])
            if not isinstance(system, RegisteredSystem):
                return None
            answer = requests.get(system.key_set_url, timeout=KEY_SET_TIMEOUT_S)
            decoded = jwt.decode(
                assertion, KeySet.import_key_set(answer.json()), algorithms=list(ALGORITHMS)
            )
        except (JoseError, requests.RequestException, ValueError, KeyError, TypeError):
            return None
        is_good = decoded.header.get("kid") and self._is_good(decoded.claims, system.client_id)
        return system if is_good else None

    def _is_good(self, claims: dict[str, Any], client_id: str) -> bool:
        now, expires, jti = time.time(), claims.get("exp"), claims.get("jti")
        self._seen = {one: until for one, until in self._seen.items() if until > now}
        if (
            claims.get("sub") != client_id
            or claims.get("aud") != f"{self.places.base_url}/auth/token"
            or not isinstance(expires, int | float)
            or not now < expires <= now + LONGEST_ASSERTION_S
            or not isinstance(jti, str)
            or jti in self._seen
        ):
            return False
        self._seen[jti] = expires
        return True


def offer_to_systems(server: AuthorizationServer, places: Places) -> None:
    """Add the grant and its way to authenticate to an authorization server."""
    server.register_client_auth_method(METHOD, AssertionCheck(places))
    server.register_grant(SystemGrant)
