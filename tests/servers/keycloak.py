"""Keycloak: an authorization server for our backend-services token, one realm per test module."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from cds.domain.registration import BACKEND_SCOPES
from tests.servers.foreign_process import server_process

READY = re.compile(r"Listening on: (http://127\.0\.0\.1:\d+)")
START_S = 420  # 25 s at first on an idle machine, then 10
LIMIT_S = 30
ADMIN = "admin"
# H2 drops its database with the last idle connection, after five minutes (seen in 2026-11).
KEPT = "--db-url-properties=;DB_CLOSE_DELAY=-1"
AUDIENCE = "https://fhir.example.invalid"
SCOPES = ("system/*.rs", "system/*.cruds", *BACKEND_SCOPES)


@dataclass(frozen=True)
class Keycloak:
    """The running server and its administrator."""

    base_url: str
    password: str

    def add_realm(self, name: str, *clients: Mapping[str, Any]) -> Realm:
        """Create a realm with these clients."""
        self._admin("POST", "", realm_representation(name, clients))
        return Realm(f"{self.base_url}/realms/{name}")

    def add_client(self, realm: str, client: Mapping[str, Any]) -> None:
        """Register a further client in a realm."""
        self._admin("POST", f"/{realm}/clients", client)

    def remove_realm(self, name: str) -> None:
        """Remove a realm."""
        self._admin("DELETE", f"/{name}", None)

    def _admin(self, method: str, path: str, body: object) -> None:
        form = {"grant_type": "password", "client_id": "admin-cli"}
        form |= {"username": ADMIN, "password": self.password}
        place = f"{self.base_url}/realms/master/protocol/openid-connect/token"
        token = requests.post(place, data=form, timeout=LIMIT_S).json()["access_token"]
        answer = requests.request(
            method,
            f"{self.base_url}/admin/realms{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=LIMIT_S,
        )
        assert answer.ok, answer.text


@dataclass(frozen=True)
class Realm:
    """One realm by its issuer."""

    issuer: str

    @property
    def token_url(self) -> str:
        """Return the token endpoint."""
        return f"{self.issuer}/protocol/openid-connect/token"

    def ask(self, assertion: str, scope: str) -> requests.Response:
        """Ask for a token as a backend service does (SMART Backend Services 2.2)."""
        form = {
            "grant_type": "client_credentials",
            "scope": scope,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
        }
        return requests.post(self.token_url, data=form, timeout=LIMIT_S)


def backend_client(
    client_id: str, *, jwks_url: str | None = None, jwks_json: str | None = None
) -> dict[str, Any]:
    """Return a client that authenticates with its key, by address or exchanged beforehand."""
    by_url = {"use.jwks.url": "true", "jwks.url": jwks_url}
    keys = by_url if jwks_url else {"use.jwks.string": "true", "jwks.string": jwks_json}
    return {
        "clientId": client_id,
        "clientAuthenticatorType": "client-jwt",
        "publicClient": False,
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "attributes": keys,
        "defaultClientScopes": ["basic"],
        "optionalClientScopes": list(SCOPES),
    }


def realm_representation(name: str, clients: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    """Return a realm with SMART's system scopes, whose tokens are meant for our FHIR server."""
    mappers = [
        {
            "name": "sub",
            "protocol": "openid-connect",
            "protocolMapper": "oidc-sub-mapper",
            "config": {"access.token.claim": "true", "introspection.token.claim": "true"},
        },
        {
            "name": "audience",
            "protocol": "openid-connect",
            "protocolMapper": "oidc-audience-mapper",
            "config": {"included.custom.audience": AUDIENCE, "access.token.claim": "true"},
        },
    ]
    scopes: list[dict[str, Any]] = [
        {
            "name": scope,
            "protocol": "openid-connect",
            "attributes": {"include.in.token.scope": "true"},
        }
        for scope in SCOPES
    ]
    basic = {"name": "basic", "protocol": "openid-connect", "protocolMappers": mappers}
    return {
        "realm": name,
        "enabled": True,
        "sslRequired": "none",
        "accessTokenLifespan": 300,
        "clientScopes": [basic, *scopes],
        "clients": list(clients),
    }


@pytest.fixture(scope="session")
def keycloak(java_build: Path, artifacts_dir: Path) -> Iterator[Keycloak]:
    """Keycloak with its database in memory."""
    (home,) = (java_build / "keycloak").glob("keycloak-*")
    password = secrets.token_urlsafe(16)
    command = ["/bin/sh", str(home / "bin" / "kc.sh"), "start-dev", "--db=dev-mem"]
    command += [KEPT]
    command += ["--http-host=127.0.0.1", "--http-port=0", "--cache=local"]
    environment = os.environ | {
        "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
        "KC_BOOTSTRAP_ADMIN_PASSWORD": password,
        "JAVA_OPTS_KC_HEAP": "-Xmx512m",
    }
    log = artifacts_dir / "keycloak.log"
    with server_process(
        command, ready=READY, log=log, within_s=START_S, environment=environment
    ) as base_url:
        yield Keycloak(base_url, password)
