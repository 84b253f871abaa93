"""Our own sign-in without a user: Keycloak takes our keys, HAPI's check the token."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from cds.adapters.backend_services import BackendServiceTokens
from cds.adapters.egress import EgressClients
from cds.adapters.storage import SystemClock, initialise
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration, SigningAlgorithm
from cds.domain.time_limit import TimeLimit
from cds.engine import Engine, engine_from_settings
from cds.settings import Settings
from cds.web.application import create_app
from tests.builders.registration import a_registration
from tests.interop.conftest import REALM
from tests.servers.fhir_client import FhirClient
from tests.servers.keycloak import Keycloak, backend_client
from tests.servers.postgresql import PostgresqlServer

EHR_ID = "signed-in"
CLIENT_ID = "precedent-backend"
READ = "system/*.rs"
LIMIT_S = 60.0  # a busy machine must not decide
ROTATION_S = 30  # Keycloak fetches a key set at most every 10 s
ALGORITHMS = (SigningAlgorithm.ES384, SigningAlgorithm.RS384)


@dataclass(frozen=True)
class SignedIn:
    """An installation that publishes its keys, and its registration at the hospital."""

    engine: Engine
    registration: EhrRegistration

    def token(self, algorithm: SigningAlgorithm, scope: str = READ) -> str:
        """Return a new token; nothing is remembered from an earlier one."""
        tokens = BackendServiceTokens(
            EgressClients(development=True), self.engine.storage.backend_keys, SystemClock()
        )
        registration = replace(self.registration, backend_algorithm=algorithm)
        found = tokens.access_token(registration, scope=scope, deadline=TimeLimit(LIMIT_S))
        return found.reveal()


@pytest.fixture(scope="module")
def signed_in(
    keycloak: Keycloak,
    guarded_hapi: FhirClient,
    postgresql: PostgresqlServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SignedIn]:
    state: Path = tmp_path_factory.mktemp("state")
    settings = Settings(state_dir=state, database_url=postgresql.new_database(), development=True)
    initialise(settings)
    engine = engine_from_settings(settings)
    registration = a_registration(
        ehr_id=EHR_ID,
        fhir_base_url=guarded_hapi.base_url,
        permitted_networks=("127.0.0.0/8",),
        origins=(keycloak.base_url,),
        backend_client_id=CLIENT_ID,
    )
    engine.storage.registrations.save(registration)
    for algorithm in ALGORITHMS:
        engine.storage.backend_keys.ensure(EHR_ID, algorithm)
    server = make_server("127.0.0.1", 0, create_app(engine), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    keys_url = f"http://127.0.0.1:{server.server_port}/t/{EHR_ID}/jwks.json"
    keycloak.add_client(REALM, backend_client(CLIENT_ID, jwks_url=keys_url))
    yield SignedIn(engine, registration)
    server.shutdown()
    thread.join()
    server.server_close()
    engine.storage.engine.dispose()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_token_when_asked_for_with_our_published_key_opens_the_record(
    signed_in: SignedIn, guarded_hapi: FhirClient, algorithm: SigningAlgorithm
) -> None:
    assert guarded_hapi.ask("GET", "Patient").status_code == 401
    reader = FhirClient(guarded_hapi.base_url, signed_in.token(algorithm))
    assert reader.ask("GET", "Patient").status_code == 200


def test_token_when_asked_for_type_by_type_is_granted_so(
    signed_in: SignedIn, guarded_hapi: FhirClient
) -> None:
    scope = " ".join(signed_in.registration.backend_scopes)
    reader = FhirClient(guarded_hapi.base_url, signed_in.token(ALGORITHMS[0], scope))
    assert reader.ask("GET", "ImagingStudy").status_code == 200
    assert reader.ask("GET", "MedicationRequest").status_code == 403


def test_token_when_a_scope_is_left_out_without_a_word_is_refused_by_us(
    signed_in: SignedIn,
) -> None:
    with pytest.raises(CdsError, match=r"system/Claim\.rs") as caught:
        signed_in.token(ALGORITHMS[0], "system/Patient.rs system/Claim.rs")
    assert caught.value.reason is Reason.UPSTREAM_REFUSED


def test_token_when_our_client_is_unknown_there_is_refused_in_words(signed_in: SignedIn) -> None:
    stranger = replace(signed_in.registration, backend_client_id="nobody")
    with pytest.raises(CdsError) as caught:
        replace(signed_in, registration=stranger).token(ALGORITHMS[0])
    assert caught.value.reason is Reason.UPSTREAM_REFUSED
    assert "client nobody" in caught.value.sentence  # what to look for there


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_key_when_rotated_signs_at_once_because_it_was_published_before(
    signed_in: SignedIn, algorithm: SigningAlgorithm
) -> None:
    signed_in.token(algorithm)  # Keycloak knows the published set now
    keys = signed_in.engine.storage.backend_keys
    before = keys.signing_key(EHR_ID, algorithm).key_id
    keys.rotate(EHR_ID, algorithm, force=True)
    assert keys.signing_key(EHR_ID, algorithm).key_id != before
    assert signed_in.token(algorithm)


def test_key_when_never_published_before_is_taken_once_the_set_is_fetched_again(
    signed_in: SignedIn,
) -> None:
    keys = signed_in.engine.storage.backend_keys
    signed_in.token(ALGORITHMS[0])
    for _ in range(3):  # further than the keys that were published ahead
        keys.rotate(EHR_ID, ALGORITHMS[0], force=True)
    end = time.monotonic() + ROTATION_S
    while not _is_let_in(signed_in) and time.monotonic() < end:
        time.sleep(1)
    assert _is_let_in(signed_in)


def _is_let_in(signed_in: SignedIn) -> bool:
    try:
        return bool(signed_in.token(ALGORITHMS[0]))
    except CdsError as error:
        if error.reason is not Reason.UPSTREAM_REFUSED:
            raise
        return False
