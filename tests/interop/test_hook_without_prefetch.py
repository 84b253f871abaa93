"""A hook without prefetch, answered from a library built out of PACS and FHIR server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from cds.adapters.storage import SystemClock, open_storage
from cds.domain.pacs_policy import PacsPolicy
from cds.domain.registration import CdsClient, EhrRegistration, SigningAlgorithm, Stage
from cds.engine import Engine, engine_from_settings
from cds.settings import Settings, settings_from_environment
from cds.web.application import create_app
from tests.builders.registration import a_registration
from tests.fakes.cds_client import ISSUER, CdsClientDouble
from tests.interop.conftest import LOADER, REALM, access_token
from tests.interop.hospital import CLEAR, N_PAST, PNEUMONIA, Film, Films, fill, films, take
from tests.servers.fhir_client import FhirClient
from tests.servers.keycloak import Keycloak, Realm, backend_client
from tests.servers.orthanc import Orthanc
from tests.servers.postgresql import PostgresqlServer

EHR_ID = "hospital"
OURS = "precedent"
SERVICE = f"/t/{EHR_ID}/cds-services/precedent-similar-cases"
PUBLIC_URL = "https://cds.example.invalid"
COMMAND = "import sys; from cds.cli.main import main; sys.exit(main())"
IMPORT = (
    *("library", "import", "--ehr", EHR_ID, "--stable-seconds", "0", "--json"),
    *("--librarian", "A. Person", "--legal-basis", "test data"),
)
DEADLINE_MS = "60000"  # a busy machine must not decide


@dataclass(frozen=True)
class Ehr:
    """A FHIR server of the hospital: how it is reached, and the token that comes with a hook."""

    client: FhirClient
    user_token: str
    keycloak: Keycloak | None = None


@dataclass(frozen=True)
class Installation:
    """The product over PostgreSQL, with its library from the archives."""

    settings: Settings
    engine: Engine
    ehr: Ehr
    films: Films
    summary: dict[str, Any]
    cds_client: CdsClientDouble

    def cards(self, film: Film) -> list[dict[str, Any]]:
        """Call the service about the film's patient and return the cards of its answer."""
        answer = self.call(film)
        assert answer.status_code == 200, answer.text
        cards: list[dict[str, Any]] = answer.get_json()["cards"]
        return cards

    def call(self, film: Film, *, user_token: str | None = None) -> TestResponse:
        """Call the service as an EHR does that prefetches nothing."""
        body = {
            "hook": "patient-view",
            "hookInstance": str(uuid4()),
            "fhirServer": self.ehr.client.base_url,
            "fhirAuthorization": {
                "access_token": user_token or self.ehr.user_token,
                "token_type": "Bearer",
                "expires_in": 300,
                "scope": "system/*.rs",
                "subject": OURS,
            },
            "context": {"userId": "Practitioner/dr-1", "patientId": film.patient_id},
        }
        token = self.cds_client.token(PUBLIC_URL + SERVICE)
        client = create_app(self.engine).test_client()
        return client.post(SERVICE, json=body, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture(scope="module", params=["hapi", "medplum"])
def ehr(request: pytest.FixtureRequest) -> Ehr:
    if request.param == "medplum":
        return Ehr(request.getfixturevalue("medplum"), "any")
    realm: Realm = request.getfixturevalue("realm")
    key: RSAKey = request.getfixturevalue("rsa_key")
    base_url = request.getfixturevalue("guarded_hapi").base_url
    writer = FhirClient(base_url, access_token(realm, key, LOADER, "system/*.cruds"))
    reader = access_token(realm, key, LOADER, "system/*.rs")
    return Ehr(writer, reader, request.getfixturevalue("keycloak"))


@pytest.fixture(scope="module")
def installation(
    ehr: Ehr,
    shared_orthanc: Orthanc,
    postgresql: PostgresqlServer,
    shared_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    held = films(shared_dir)
    fill(shared_orthanc, ehr.client, held)
    environment = {
        "PRECEDENT_STATE_DIR": str(tmp_path_factory.mktemp("installation")),
        "PRECEDENT_DATABASE_URL": postgresql.new_database(),
        "PRECEDENT_DEVELOPMENT": "true",
        "PRECEDENT_PUBLIC_URL": PUBLIC_URL,
        "PRECEDENT_HOOK_DEADLINE_MS": DEADLINE_MS,
    }
    settings = settings_from_environment(environment)
    precedent(environment, "init")
    cds_client = CdsClientDouble(SystemClock())
    register(settings, ehr, registration(ehr, shared_orthanc, cds_client))
    # As a librarian does.
    summary = json.loads(precedent(environment, *IMPORT))
    engine = engine_from_settings(settings)
    yield Installation(settings, engine, ehr, held, summary, cds_client)
    engine.storage.engine.dispose()


def registration(ehr: Ehr, pacs: Orthanc, cds_client: CdsClientDouble) -> EhrRegistration:
    return a_registration(
        ehr_id=EHR_ID,
        fhir_base_url=ehr.client.base_url,
        permitted_networks=("127.0.0.0/8",),
        origins=(pacs.url, *([ehr.keycloak.base_url] if ehr.keycloak else [])),
        default_pacs_url=pacs.dicomweb_url,
        cds_clients=(CdsClient(ISSUER, jwks_json=orjson.dumps(cds_client.key_set()).decode()),),
        stage=Stage.SANDBOX,
        ready_card=True,
        pacs_policy=PacsPolicy(requests_per_s=200.0, megabytes_per_s=200.0),
        backend_client_id=OURS if ehr.keycloak else None,
        backend_scopes=("system/*.rs",),
    )


def register(settings: Settings, ehr: Ehr, registration: EhrRegistration) -> None:
    """Register the EHR here, and where there is an authorization server, our client there."""
    storage = open_storage(settings)
    storage.registrations.save(registration)
    if ehr.keycloak is not None:
        storage.backend_keys.ensure(EHR_ID, SigningAlgorithm.ES384)
        keys = orjson.dumps(storage.backend_keys.key_set(EHR_ID)).decode()
        ehr.keycloak.add_client(REALM, backend_client(OURS, jwks_json=keys))
    storage.engine.dispose()


def precedent(environment: dict[str, str], *arguments: str) -> str:
    """Run the command as an administrator does; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cases_of(installation: Installation, *some: Film) -> set[str]:
    """The ids of the library's cases that were made from these films."""
    keys = {installation.engine.keys.study_key(film.study_instance_uid) for film in some}
    catalogue = installation.engine.storage.catalogue
    return {case.case_id for case in catalogue.iter_cases() if case.study_key in keys}


def test_library_when_imported_holds_the_films_with_what_is_on_record(
    installation: Installation,
) -> None:
    summary, past = installation.summary, installation.films.past
    assert (summary["n_listed"], summary["stopped"]) == (N_PAST + 1, None)
    assert (summary["n_not_recorded"], summary["n_failed_for_now"]) == (0, 0)
    assert summary["n_not_reported"] == 1  # the film that waits to be read is no past case
    assert summary["reasons"] == {}
    quarantined = summary["library"]["quarantined"]  # real films bear real writing
    assert set(quarantined) <= {"writing was found on the picture itself"}
    n_kept = N_PAST - sum(quarantined.values())
    assert summary["library"]["n_cases_in_library"] == n_kept >= 0.75 * N_PAST
    ids = cases_of(installation, *past)
    assert len(ids) == n_kept
    for case_id in ids:
        case = installation.engine.storage.catalogue.case_by_id(case_id)
        assert case is not None
        assert case.owner_ehr_id == EHR_ID
        assert {m.code for m in case.measurements} == {"1988-5", "6690-2", "731-0"}
        (finding,) = case.findings
        assert (finding.proof, finding.coding.code) in {
            ("report", PNEUMONIA[0]),
            ("report", CLEAR[0]),
        }


def test_state_when_the_library_was_imported_is_in_postgresql(installation: Installation) -> None:
    url = installation.settings.database_url.replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        counted = connection.execute("SELECT count(*) FROM library_case").fetchone()
    assert counted == (installation.summary["library"]["n_cases_in_library"],)
    assert not list(installation.settings.state_dir.rglob("*.db"))


def test_hook_when_nothing_is_prefetched_shows_matches_of_the_library(
    installation: Installation,
) -> None:
    waiting = installation.films.waiting
    (card,) = installation.cards(waiting)
    assert re.search(r"comparison with \d+ past patients is ready", card["summary"])
    (report,) = installation.engine.results.by_patient(EHR_ID, waiting.patient_id)
    matched = [neighbor.case_id for neighbor in report.neighbors]
    assert f"with {len(matched)} past patients" in card["summary"]
    assert set(matched) <= cases_of(installation, *installation.films.past)
    for neighbor in report.neighbors:
        assert neighbor.findings
        assert {m.code for m in neighbor.measurements} == {"1988-5", "6690-2", "731-0"}
        assert neighbor.record_similarity is not None
        assert neighbor.picture_id is not None
        picture = installation.engine.case_picture_png(
            neighbor.case_id, neighbor.picture_id, ehr_id=EHR_ID, who="dr-1"
        )
        assert picture.startswith(b"\x89PNG")


def test_hook_when_the_film_came_a_second_ago_sees_it(
    installation: Installation, shared_orthanc: Orthanc
) -> None:
    coming = installation.films.coming
    assert installation.cards(coming) == []  # the search without the film is cached by HAPI now
    take(coming, shared_orthanc, installation.ehr.client)
    (card,) = installation.cards(coming)
    assert "past patients is ready" in card["summary"]


def test_hook_when_the_film_is_reported_is_silent(installation: Installation) -> None:
    assert installation.cards(installation.films.past[0]) == []


def test_hook_when_its_token_is_none_is_answered_only_where_none_is_asked_for(
    installation: Installation,
) -> None:
    answer = installation.call(installation.films.waiting, user_token="no-token")
    if installation.ehr.keycloak is None:
        assert answer.status_code == 200
        return
    assert answer.status_code == 412
    assert "refused access" in answer.text
