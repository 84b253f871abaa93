"""A clinician's browser with an open session, and the engine behind the pages."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser

from flask import Flask
from flask.testing import FlaskClient

from cds.domain.launch import StudyHint
from cds.domain.report import CaseReport
from cds.domain.secrecy import SecretText
from cds.web.engine_surface import bind_engine
from smart_app.launch.clinician_session import ClinicianSession
from tests.builders.case_report import a_launch_analysis, a_study
from tests.fakes.launch_engine import FakeLaunchEngine


class Door:
    """A browser with an open session, and the engine behind it."""

    def __init__(self, app: Flask) -> None:
        self.engine = FakeLaunchEngine("https://ehr.example.invalid/fhir")
        bind_engine(app.extensions, self.engine)
        self.client: FlaskClient = app.test_client()
        self.open("window1", StudyHint(study_instance_uid=a_study().study_instance_uid))

    def open(self, window: str, hint: StudyHint | None) -> None:
        session = ClinicianSession(
            window=window,
            ehr_id="sandbox",
            who="Practitioner/okafor",
            access_token=SecretText("token-of-p4"),
            token_expires_at=self.engine.clock.now() + timedelta(hours=1),
            patient_id="p4",
            study_hint=hint,
        )
        payload = session.to_payload()
        session_id = self.engine.sessions.create("sandbox", payload, lifetime=timedelta(hours=1))
        self.client.set_cookie(f"precedent-{window}", session_id, domain="localhost")

    def page(self, report: CaseReport | None = None, **context: object) -> str:
        if report is not None:
            self.engine.analysis = a_launch_analysis(report, **context)
        answer = self.client.get("/app/study?w=window1")
        assert answer.status_code == 200
        return answer.text


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of(page: str) -> str:
    """What a reader sees, blanks folded."""
    parser = _Text()
    parser.feed(page)
    return re.sub(r"\s+", " ", " ".join(parser.parts))
