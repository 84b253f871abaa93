"""The machine doors over a fake engine, called as an EHR calls them."""

from typing import Any
from uuid import uuid4

from flask import Flask
from werkzeug.test import TestResponse

from cds.domain.errors import CdsError
from cds.domain.registration import EhrRegistration
from cds.domain.report import CaseReport
from cds.domain.study import StudyRef
from cds.web.application import create_app
from tests.builders.answers import (
    EHR_ID,
    NOW,
    PATIENT_ID,
    a_case_report,
    a_context,
    a_registration,
    a_study,
)
from tests.fakes.cds_client import JKU, CdsClientDouble
from tests.fakes.clock import FixedClock
from tests.fakes.engine import FakeEngine, FakeHookAnalysis, FakeRegistrations

PUBLIC_URL = "https://cds.example.invalid"
BASE = f"/t/{EHR_ID}/cds-services"
SIMILAR_CASES = f"{BASE}/precedent-similar-cases"
ACCESS_TOKEN = "SECRET-ACCESS-TOKEN-4711"


class MachineDoor:
    """An application over `FakeEngine`, and a client of it that signs what it sends."""

    def __init__(self, *registrations: EhrRegistration) -> None:
        self.clock = FixedClock(NOW)
        self.cds_client = CdsClientDouble(self.clock)
        known = registrations or (a_registration(),)
        self.engine = FakeEngine(self.clock, FakeRegistrations(known))
        self.engine.key_sets[JKU] = self.cds_client.key_set()
        self.analyses(report=a_case_report())
        self.app: Flask = create_app(self.engine)
        self.http = self.app.test_client()

    def analyses(
        self,
        *,
        study: StudyRef | None = None,
        has_study: bool = True,
        report: CaseReport | None = None,
        failure: CdsError | None = None,
        is_pending: bool = False,
    ) -> None:
        """Prepare what the engine answers to each hook from now on."""
        chosen = (study or a_study()) if has_study else None
        found = FakeHookAnalysis(a_context(), chosen, report, failure, is_pending)
        self.engine.analyse = lambda _asked, _deadline: found

    def refuses(self, error: CdsError) -> None:
        """Let the engine refuse each hook from now on."""

        def refuse(_asked: object, _deadline: object) -> FakeHookAnalysis:
            raise error

        self.engine.analyse = refuse

    def call(
        self,
        body: Any = None,
        *,
        path: str = SIMILAR_CASES,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> TestResponse:
        """Call a CDS service; the token is signed for the called address unless one is given."""
        signed = token if token is not None else self.cds_client.token(PUBLIC_URL + path)
        sent = {"Authorization": f"Bearer {signed}"} if signed else {}
        return self.http.post(
            path, json=a_hook_body() if body is None else body, headers={**sent, **(headers or {})}
        )

    def cards(self, body: Any = None) -> list[dict[str, Any]]:
        """Call the service and return the cards of an answer that must be 200."""
        response = self.call(body)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.get_json()["cards"]
        return found

    @property
    def silence_rows(self) -> list[int]:
        """Return the rows stored so far, in order."""
        return self.engine.hook_calls.silence_rows


def a_hook_body(**over: Any) -> dict[str, Any]:
    """Return a complete patient-view call; None as a value leaves a member out."""
    body: dict[str, Any] = {
        "hook": "patient-view",
        "hookInstance": str(uuid4()),
        "fhirServer": "https://ehr.example.invalid/r4",
        "fhirAuthorization": {
            "access_token": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "patient/Patient.read patient/ImagingStudy.read",
            "subject": "precedent",
        },
        "context": {"userId": "Practitioner/dr-1", "patientId": PATIENT_ID},
        "prefetch": {"patient": {"resourceType": "Patient", "id": PATIENT_ID}},
    }
    return {name: value for name, value in {**body, **over}.items() if value is not None}
