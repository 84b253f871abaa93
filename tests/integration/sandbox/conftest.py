"""A sandbox hospital on two patients, and ways to sign in and get a token."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient

from sandbox.web.application import create_app, open_hospital
from sandbox.web.hospital import Hospital
from sandbox.web.places import Places, SharedSecrets
from tests.integration.sandbox.records import write_records

if TYPE_CHECKING:
    from pathlib import Path

    from werkzeug.test import TestResponse


BASE_URL = "http://localhost:8100"
APP_URL = "http://127.0.0.1:8000"
MINIMAL_SCOPE = (
    "launch openid fhirUser patient/Patient.r patient/Observation.rs patient/ImagingStudy.rs"
)


@dataclass
class Browser:
    """One browser at the EHR, and the app's server behind it."""

    client: FlaskClient
    hospital: Hospital
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def sign_in(self, login: str = "dr.okafor") -> None:
        self.client.post("/ehr/sign-in", data={"login": login, "password": "sandbox"})

    def open_launch(self, patient_id: str = "anne", **wanted: str) -> str:
        answer = self.client.post(f"/ehr/patients/{patient_id}/launch", json=wanted)
        assert answer.status_code == 200, answer.text
        query = parse_qs(urlsplit(str(answer.get_json()["url"])).query)
        assert query["iss"] == [f"{BASE_URL}/fhir"]
        return str(query["launch"][0])

    def request(self, launch: str, /, **changes: str | None) -> dict[str, str]:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest())
        parameters: dict[str, str | None] = {
            "response_type": "code",
            "client_id": "precedent-app",
            "redirect_uri": f"{APP_URL}/callback",
            "scope": MINIMAL_SCOPE,
            "state": "state-of-122-bits",
            "nonce": "n-0S6",
            "aud": f"{BASE_URL}/fhir",
            "launch": launch,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return {k: v for k, v in (parameters | changes).items() if v is not None}

    def authorize(self, launch: str, /, **changes: str | None) -> dict[str, list[str]]:
        answer = self.client.get("/auth/authorize", query_string=self.request(launch, **changes))
        assert answer.status_code == 302, answer.text
        assert answer.location.startswith(f"{APP_URL}/callback?")
        return parse_qs(urlsplit(answer.location).query)

    def exchange(self, code: str, **changes: str) -> TestResponse:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": f"{APP_URL}/callback",
            "code_verifier": self.verifier,
        }
        return self.app_post("/auth/token", form | changes)

    def app_post(self, path: str, form: dict[str, str], secret: str | None = None) -> TestResponse:
        password = secret or self.hospital.secrets.client_secret
        return self.client.post(path, data=form, auth=("precedent-app", password))

    def token(self, patient_id: str = "anne", scope: str = MINIMAL_SCOPE) -> dict[str, Any]:
        self.sign_in()
        code = self.authorize(self.open_launch(patient_id), scope=scope)["code"][0]
        answer = self.exchange(code)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.get_json()
        return document

    def get(self, path: str, token: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers={"Authorization": f"Bearer {token}", **headers})


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    places = Places(base_url=BASE_URL, app_url=APP_URL)
    shared = SharedSecrets(
        client_secret=secrets.token_urlsafe(16),
        pacs_password=secrets.token_urlsafe(16),
        session_key=secrets.token_urlsafe(16),
    )
    return open_hospital(write_records(tmp_path / "tryout"), places, shared)


@pytest.fixture
def browser(hospital: Hospital) -> Browser:
    app = create_app(hospital)
    client = app.test_client()
    client.environ_base["SERVER_NAME"] = "localhost"
    client.environ_base["SERVER_PORT"] = "8100"
    return Browser(client, hospital)
