"""Keycloak's rules for a backend service's token, and a check in front of HAPI that asks for it."""

import time

import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.builders.client_assertion import a_client_assertion
from tests.interop.conftest import (
    BY_URL,
    BY_VALUE,
    LOADER,
    PublishedKeys,
    a_key,
    access_token,
)
from tests.servers.fhir_client import FhirClient
from tests.servers.keycloak import Keycloak, Realm, backend_client

READ = "system/*.rs"
ROTATION_S = 30  # Keycloak fetches a key set at most every 10 s


@pytest.mark.parametrize(
    ("kind", "client_id"), [("EC", BY_URL), ("RSA", BY_URL), ("RSA", BY_VALUE)]
)
def test_token_when_asked_for_with_a_registered_key_is_issued_with_the_scope(
    realm: Realm, ec_key: ECKey, rsa_key: RSAKey, kind: str, client_id: str
) -> None:
    key = ec_key if kind == "EC" else rsa_key
    assertion = a_client_assertion(key, client_id=client_id, audience=realm.token_url)
    answer = realm.ask(assertion, READ)
    assert answer.status_code == 200, answer.text
    granted = answer.json()
    assert granted["token_type"] == "Bearer"
    assert READ in granted["scope"].split()
    assert "refresh_token" not in granted


def test_assertion_when_used_twice_is_refused(realm: Realm, ec_key: ECKey) -> None:
    assertion = a_client_assertion(ec_key, client_id=BY_URL, audience=realm.token_url)
    assert realm.ask(assertion, READ).status_code == 200
    assert realm.ask(assertion, READ).status_code in {400, 401}


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        pytest.param({}, {"aud": "https://elsewhere.example.invalid/token"}, id="wrong-aud"),
        pytest.param({}, {"exp": int(time.time()) - 120}, id="expired"),
        pytest.param({}, {"sub": "someone-else"}, id="iss-is-not-sub"),
        pytest.param({"kid": "nobody"}, {}, id="unknown-kid"),
    ],
)
def test_assertion_when_wrong_is_refused(
    realm: Realm, ec_key: ECKey, header: dict[str, str], claims: dict[str, object]
) -> None:
    assertion = a_client_assertion(
        ec_key, client_id=BY_URL, audience=realm.token_url, header=header, claims=claims
    )
    assert realm.ask(assertion, READ).status_code in {400, 401}


def test_assertion_when_signed_with_a_foreign_key_is_refused(realm: Realm) -> None:
    stranger = a_key("EC", "ec-1")  # the registered kid, another key
    assertion = a_client_assertion(stranger, client_id=BY_URL, audience=realm.token_url)
    assert realm.ask(assertion, READ).status_code in {400, 401}


def test_key_when_rotated_is_taken_and_the_old_one_refused(
    keycloak: Keycloak, published_keys: PublishedKeys
) -> None:
    old, new = a_key("EC", "before"), a_key("EC", "after")
    served = published_keys.served
    published_keys.served = [old]
    realm = keycloak.add_realm("rotation", backend_client(BY_URL, jwks_url=published_keys.url))
    try:
        assert _is_accepted(realm, old)
        published_keys.served = [new]
        end = time.monotonic() + ROTATION_S
        while not _is_accepted(realm, new) and time.monotonic() < end:
            time.sleep(1)
        assert _is_accepted(realm, new)
        assert not _is_accepted(realm, old)
    finally:
        published_keys.served = served
        keycloak.remove_realm("rotation")


def _is_accepted(realm: Realm, key: ECKey | RSAKey) -> bool:
    assertion = a_client_assertion(key, client_id=BY_URL, audience=realm.token_url)
    return realm.ask(assertion, READ).status_code == 200


def test_record_when_asked_for_without_a_token_is_refused(guarded_hapi: FhirClient) -> None:
    answer = guarded_hapi.ask("GET", "Patient")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("token", ["", "not-a-token", "eyJhbGciOiJub25lIn0.e30."])
def test_record_when_asked_for_with_no_real_token_is_refused(
    guarded_hapi: FhirClient, token: str
) -> None:
    answer = guarded_hapi.ask("GET", "Patient", Authorization=f"Bearer {token}")
    assert answer.status_code == 401


def test_record_when_the_token_is_another_realms_is_refused(
    keycloak: Keycloak, guarded_hapi: FhirClient, published_keys: PublishedKeys, ec_key: ECKey
) -> None:
    other = keycloak.add_realm("elsewhere", backend_client(BY_URL, jwks_url=published_keys.url))
    token = access_token(other, ec_key, BY_URL, READ)
    assert FhirClient(guarded_hapi.base_url, token).ask("GET", "Patient").status_code == 401
    keycloak.remove_realm("elsewhere")


def test_record_when_the_token_permits_reading_can_be_read_and_not_written(
    realm: Realm, guarded_hapi: FhirClient, ec_key: ECKey, rsa_key: RSAKey
) -> None:
    writer = access_token(realm, rsa_key, LOADER, "system/*.cruds")
    reference = FhirClient(guarded_hapi.base_url, writer).create({"resourceType": "Patient"})
    reader = FhirClient(guarded_hapi.base_url, access_token(realm, ec_key, BY_URL, READ))
    assert reader.ask("GET", reference).status_code == 200
    assert reader.ask("POST", "Patient", {"resourceType": "Patient"}).status_code == 403


def test_scope_when_narrow_covers_its_type_alone(
    realm: Realm, guarded_hapi: FhirClient, ec_key: ECKey
) -> None:
    narrow = FhirClient(
        guarded_hapi.base_url, access_token(realm, ec_key, BY_URL, "system/Patient.rs")
    )
    assert narrow.ask("GET", "Patient").status_code == 200
    assert narrow.ask("GET", "Observation").status_code == 403
