"""Servers that belong together: a realm of our own, and HAPI behind a check of its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.builders.client_assertion import a_client_assertion
from tests.fakes.http_server import Asked, LocalServer, Reply, a_server
from tests.servers.fhir_client import FhirClient
from tests.servers.hapi import hapi_process
from tests.servers.keycloak import AUDIENCE, Keycloak, Realm, backend_client

BY_URL, BY_VALUE = "precedent-by-url", "precedent-by-value"
REALM = "hospital"
LOADER = "loader"  # the hospital's own interface engine, which may write


@dataclass
class PublishedKeys:
    """Keys at an address of their own; `served` is what the world sees."""

    server: LocalServer
    served: list[ECKey | RSAKey] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/jwks.json"

    def answer(self, _asked: Asked) -> Reply:
        keys = [key.as_dict(private=False) for key in self.served]
        return Reply.json({"keys": keys}, kind="application/json")


def a_key(kind: str, kid: str) -> ECKey | RSAKey:
    if kind == "EC":
        return ECKey.generate_key("P-384", {"kid": kid, "use": "sig", "alg": "ES384"})
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS384"})


@pytest.fixture(scope="session")
def ec_key() -> ECKey | RSAKey:
    return a_key("EC", "ec-1")


@pytest.fixture(scope="session")
def rsa_key() -> ECKey | RSAKey:
    return a_key("RSA", "rsa-1")


@pytest.fixture(scope="session")
def published_keys(ec_key: ECKey | RSAKey, rsa_key: ECKey | RSAKey) -> Iterator[PublishedKeys]:
    with a_server(lambda _asked: Reply(404)) as server:
        keys = PublishedKeys(server, [ec_key, rsa_key])
        server.answer = keys.answer
        yield keys


@pytest.fixture(scope="session")
def realm(keycloak: Keycloak, published_keys: PublishedKeys, rsa_key: ECKey | RSAKey) -> Realm:
    """The hospital's realm: one client with keys at an address, two with keys given beforehand."""
    given = orjson.dumps({"keys": [rsa_key.as_dict(private=False)]}).decode()
    return keycloak.add_realm(
        REALM,
        backend_client(BY_URL, jwks_url=published_keys.url),
        backend_client(BY_VALUE, jwks_json=given),
        backend_client(LOADER, jwks_json=given),
    )


@pytest.fixture(scope="session")
def guarded_hapi(java_build: Path, artifacts_dir: Path, realm: Realm) -> Iterator[FhirClient]:
    """HAPI behind a check of the realm's access tokens; the client itself brings none."""
    log = artifacts_dir / "hapi-guarded.log"
    with hapi_process(java_build, log, realm.issuer, AUDIENCE) as base_url:
        yield FhirClient(base_url)


def access_token(realm: Realm, key: ECKey | RSAKey, client_id: str, scope: str) -> str:
    assertion = a_client_assertion(key, client_id=client_id, audience=realm.token_url)
    answer = realm.ask(assertion, scope)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])
