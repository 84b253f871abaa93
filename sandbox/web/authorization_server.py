"""The sandbox's SMART authorization server: strict, on authlib, with everything in memory."""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc9207 import IssuerParameter
from authlib.oidc.core.grants import OpenIDCode
from joserfc import jwt

from sandbox.web.backend_services import (
    GRANT,
    SYSTEM_ACCOUNT,
    RegisteredSystem,
    offer_to_systems,
)
from sandbox.web.backend_services import TOKEN_LIFETIME_S as SYSTEM_TOKEN_LIFETIME_S
from sandbox.web.grants import TOKEN_LIFETIME_S, CodeRecord, GrantBook, TokenRecord
from sandbox.web.keys import SigningKeys
from sandbox.web.places import Places
from sandbox.web.scopes import grantable

if TYPE_CHECKING:
    from flask import Flask

    from sandbox.web.accounts import Account

ID_TOKEN_LIFETIME_S = 300
_NO_STORE = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))


@dataclass(frozen=True, slots=True)
class RegisteredApp:
    """A confidential app that authenticates with its secret; methods are authlib's names."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_urls: tuple[str, ...]
    launch_urls: tuple[str, ...]

    def get_client_id(self) -> str:
        """Return the client id."""
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """Return None: the redirect address must be named in every request."""

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Return what is granted of a requested scope, or None if nothing is left."""
        return grantable(scope or "") or None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Tell whether the address is registered, byte by byte."""
        return redirect_uri in self.redirect_urls

    def check_client_secret(self, client_secret: str) -> bool:
        """Tell whether the secret fits."""
        return hmac.compare_digest(client_secret.encode(), self.client_secret.encode())

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """Tell whether the app may authenticate this way."""
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        """Tell whether the response type is allowed."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Tell whether the grant type is allowed."""
        return grant_type in {"authorization_code", "refresh_token"}


@dataclass(frozen=True, slots=True)
class AuthorizationParts:
    """What the grants below work with."""

    places: Places
    grants: GrantBook
    keys: SigningKeys
    apps: tuple[RegisteredApp | RegisteredSystem, ...]

    def app(self, client_id: str) -> RegisteredApp | RegisteredSystem | None:
        """Return the registered app with this id, or None."""
        return next((app for app in self.apps if app.client_id == client_id), None)


class StrictCodeChallenge(CodeChallenge):  # type: ignore[misc]  # authlib ships no types
    """PKCE as SMART demands it: always, and S256 only."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:  # noqa: ANN401
        """Refuse a request without an S256 challenge."""
        data = grant.request.payload.data
        if data.get("code_challenge_method") != "S256" or not data.get("code_challenge"):
            raise InvalidRequestError("PKCE with code_challenge_method S256 is required.")
        super().validate_code_challenge(grant, redirect_uri)


class LaunchChecks:
    """What SMART adds to an authorization request: state, aud, and a launch that we issued."""

    def __init__(self, parts: AuthorizationParts) -> None:
        self._parts = parts

    def __call__(self, grant: Any) -> None:  # noqa: ANN401  # authlib's grant type
        """Register with a grant: authlib's way to extend one."""
        grant.register_hook("after_validate_authorization_request_payload", self.validate)

    def validate(self, grant: Any, _redirect_uri: str) -> None:  # noqa: ANN401
        """Refuse a request that lacks a state, names another server or an unknown launch."""
        data = grant.request.payload.data
        if not data.get("state"):
            raise InvalidRequestError("The state parameter is required.")
        if data.get("aud") != self._parts.places.fhir_base_url:
            raise InvalidRequestError("The aud parameter must equal this FHIR base URL.")
        launch = self._parts.grants.launch(data.get("launch", ""))
        if launch is None:
            raise InvalidRequestError("The launch parameter is unknown, used or expired.")
        user = grant.request.user
        if user is not None and user != launch.account:
            raise InvalidRequestError("The launch belongs to another user.")


class IdTokens(OpenIDCode):  # type: ignore[misc]  # authlib ships no types
    """Adds an id_token (RS256) with nonce and fhirUser to the token response."""

    def __init__(self, parts: AuthorizationParts) -> None:
        super().__init__(require_nonce=True)
        self._parts = parts

    def exists_nonce(self, _nonce: str, _request: Any) -> bool:  # noqa: ANN401
        """Return False: the code is single-use, which is what a nonce store would protect."""
        return False

    def encode_id_token(self, token: dict[str, Any], request: Any) -> str:  # noqa: ANN401
        """Sign the id_token."""
        record = self._parts.grants.token(token["access_token"])
        account: Account = request.user
        now = int(time.time())
        claims = {
            "iss": self._parts.places.fhir_base_url,
            "sub": account.login,
            "aud": request.client.client_id,
            "iat": now,
            "exp": now + ID_TOKEN_LIFETIME_S,
            "name": account.display,
        }
        if "fhirUser" in token["scope"].split():
            claims["fhirUser"] = f"{self._parts.places.fhir_base_url}/{account.fhir_user}"
        code = request.authorization_code
        if record is not None and code is not None and code.nonce:
            claims["nonce"] = code.nonce
        key = self._parts.keys.id_token_key
        header = {"alg": "RS256", "kid": key.kid, "typ": "JWT"}
        return jwt.encode(header, claims, key, ["RS256"])


class Issuer(IssuerParameter):  # type: ignore[misc]  # authlib ships no types
    """Adds `iss` to the authorization response (RFC 9207), so that servers cannot be mixed up."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def get_issuer(self) -> str:
        """Return the issuer."""
        return self._places.fhir_base_url


def _code_grant(parts: AuthorizationParts) -> type[Any]:
    class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]  # authlib ships no types
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

        def save_authorization_code(self, code: str, request: Any) -> None:  # noqa: ANN401
            data = request.payload.data
            launch = parts.grants.launch(data["launch"])
            if launch is None:
                raise InvalidRequestError("The launch parameter is unknown, used or expired.")
            parts.grants.save_code(
                CodeRecord(
                    code=code,
                    client_id=request.client.client_id,
                    redirect_uri=request.payload.redirect_uri,
                    scope=request.scope,
                    nonce=data.get("nonce"),
                    code_challenge=data["code_challenge"],
                    code_challenge_method=data["code_challenge_method"],
                    launch=launch,
                    issued_at=time.time(),
                )
            )

        def query_authorization_code(self, code: str, client: Any) -> CodeRecord | None:  # noqa: ANN401
            return parts.grants.take_code(code, client.client_id)

        def delete_authorization_code(self, authorization_code: CodeRecord) -> None:
            """Keep the spent code: its replay must be recognised."""

        def authenticate_user(self, authorization_code: CodeRecord) -> Account:
            return authorization_code.launch.account

    return CodeGrant


def _refresh_grant(parts: AuthorizationParts) -> type[Any]:
    class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]  # authlib ships no types
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)
        INCLUDE_NEW_REFRESH_TOKEN = True

        def authenticate_refresh_token(self, refresh_token: str) -> TokenRecord | None:
            record = parts.grants.by_refresh_token(refresh_token)
            if record is None or record.is_killed or record.refresh_is_spent:
                return None
            return record

        def authenticate_user(self, refresh_token: TokenRecord) -> Account:
            return refresh_token.account

        def revoke_old_credential(self, refresh_token: TokenRecord) -> None:
            refresh_token.refresh_is_spent = True
            refresh_token.is_killed = True

    return RefreshGrant


def _endpoints(parts: AuthorizationParts) -> tuple[type[Any], type[Any]]:
    class Introspection(IntrospectionEndpoint):  # type: ignore[misc]  # authlib ships no types
        def query_token(self, token_string: str, _hint: str | None) -> TokenRecord | None:
            return parts.grants.any_token(token_string)

        def check_permission(self, _token: Any, _client: Any, _request: Any) -> bool:  # noqa: ANN401
            return True

        def introspect_token(self, token: TokenRecord) -> dict[str, Any]:
            return _introspection(token, parts.places)

    class Revocation(RevocationEndpoint):  # type: ignore[misc]  # authlib ships no types
        def query_token(self, token_string: str, _hint: str | None) -> TokenRecord | None:
            return parts.grants.any_token(token_string)

        def revoke_token(self, token: TokenRecord, _request: Any) -> None:  # noqa: ANN401
            token.is_killed = True

    return Introspection, Revocation


def _introspection(token: TokenRecord, places: Places) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "active": True,
        "client_id": token.client_id,
        "scope": token.scope,
        "token_type": "Bearer",
        "exp": int(token.issued_at + token.lifetime_s),
        "iat": int(token.issued_at),
        "iss": places.fhir_base_url,
        "sub": token.account.login,
        "username": token.account.login,
        "fhirUser": f"{places.fhir_base_url}/{token.account.fhir_user}",
    }
    if token.launch:
        facts |= token.launch.token_parameters()
    elif token.patient_id:
        facts["patient"] = token.patient_id
    return facts


def _save_token(parts: AuthorizationParts, token: dict[str, Any], request: Any) -> None:  # noqa: ANN401
    """Record a token that authlib has made, and add the launch context to its response."""
    code: CodeRecord | None = getattr(request, "authorization_code", None)
    earlier: TokenRecord | None = getattr(request, "refresh_token", None)
    launch = code.launch if code else earlier.launch if earlier else None
    wants_refresh = {"offline_access", "online_access"} & set(token["scope"].split())
    if not wants_refresh:
        token.pop("refresh_token", None)
    parts.grants.save_token(
        TokenRecord(
            access_token=token["access_token"],
            client_id=request.client.client_id,
            scope=token["scope"],
            account=request.user or SYSTEM_ACCOUNT,
            issued_at=time.time(),
            lifetime_s=token["expires_in"],
            launch=launch,
            patient_id=launch.patient_id if launch else None,
            refresh_token=token.get("refresh_token"),
            code=code.code if code else earlier.code if earlier else None,
        )
    )
    if launch:
        token.update(launch.token_parameters())


def build_server(app: Flask, parts: AuthorizationParts) -> AuthorizationServer:
    """Return the authorization server of a Flask program."""
    app.config["OAUTH2_ACCESS_TOKEN_GENERATOR"] = _random_token
    app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = _random_token
    app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {
        "authorization_code": TOKEN_LIFETIME_S,
        "refresh_token": TOKEN_LIFETIME_S,
        GRANT: SYSTEM_TOKEN_LIFETIME_S,
    }
    server = AuthorizationServer(
        app,
        query_client=parts.app,
        save_token=lambda token, request: _save_token(parts, token, request),
    )
    server.register_grant(
        _code_grant(parts),
        [StrictCodeChallenge(required=True), LaunchChecks(parts), IdTokens(parts)],
    )
    server.register_grant(_refresh_grant(parts))
    offer_to_systems(server, parts.places)
    server.register_extension(Issuer(parts.places))
    for endpoint in _endpoints(parts):
        server.register_endpoint(endpoint)
    return server


def no_store(response: Any) -> Any:  # noqa: ANN401  # a Flask response
    """Set the headers that keep tokens and records out of caches."""
    for name, value in _NO_STORE:
        response.headers[name] = value
    return response


def _random_token(*_args: object, **_kwargs: object) -> str:
    return secrets.token_urlsafe(32)
