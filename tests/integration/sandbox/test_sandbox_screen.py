"""The EHR screen: pages, cards from a local CDS service, launches, orders, outages."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from sandbox.web.application import create_app
from sandbox.web.places import Places
from tests.integration.sandbox.conftest import BASE_URL, Browser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.web.hospital import Hospital

CARD = {
    "uuid": "4e0a3a1c-0000-4000-8000-000000000001",
    "summary": "Image not compared: header mismatch",
    "indicator": "warning",
    "source": {"label": "Precedent"},
    "detail": "**Why** <img src=x onerror=alert(1)> [x](javascript:alert(1))",
    "links": [
        {
            "label": "Open",
            "url": "http://127.0.0.1:1/launch",
            "type": "smart",
            "appContext": '{"study":"study-anne"}',
        }
    ],
    "overrideReasons": [{"code": "seen", "system": "urn:x", "display": "Already seen"}],
}


class FakeCdsService(ThreadingHTTPServer):
    """Answers discovery and one patient-view service, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.cards: list[dict[str, Any]] = [CARD]
        self.requests: list[tuple[str, dict[str, str], dict[str, Any] | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeCdsService

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers), None))
        entry = {
            "hook": "patient-view",
            "id": "similar",
            "description": "d",
            "prefetch": {
                "patient": "Patient/{{context.patientId}}",
                "labs": "Observation?patient={{context.patientId}}&category=laboratory&_count=3",
                "odd": "Basic?patient={{context.patientId}}",
            },
        }
        self._answer(200, {"services": [entry]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        self._answer(self.server.status, {"cards": self.server.cards})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def cds_service() -> Iterator[FakeCdsService]:
    server = FakeCdsService()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ward(hospital: Hospital, cds_service: FakeCdsService) -> Browser:
    object.__setattr__(hospital, "places", Places(base_url=BASE_URL, app_url=cds_service.url))
    client = create_app(hospital).test_client()
    client.environ_base["SERVER_NAME"] = "localhost"
    client.environ_base["SERVER_PORT"] = "8100"
    ward = Browser(client, hospital)
    ward.sign_in()
    return ward


def test_page_when_not_signed_in_leads_to_the_sign_in_page(browser: Browser) -> None:
    answer = browser.client.get("/ehr/patients/anne")
    assert answer.status_code == 302
    assert answer.location == "/ehr/sign-in?next=/ehr/patients/anne"
    assert "dr.okafor" in browser.client.get(answer.location).text


def test_sign_in_when_asked_to_go_elsewhere_stays_here(browser: Browser) -> None:
    form = {"login": "dr.okafor", "password": "sandbox", "next": "//evil.invalid"}
    assert browser.client.post("/ehr/sign-in", data=form).location == "/ehr/patients"
    wrong = {"login": "dr.okafor", "password": "x"}
    assert browser.client.post("/ehr/sign-in", data=wrong).status_code == 401


def test_patient_list_when_opened_shows_names_and_unread_films(browser: Browser) -> None:
    browser.sign_in()
    page = browser.client.get("/ehr/patients").text
    assert "ARCHER, Test" in page
    assert "unread" in page
    assert ">P1<" in page


def test_chart_when_opened_shows_banner_problem_lab_and_film(browser: Browser) -> None:
    browser.sign_in()
    page = browser.client.get("/ehr/patients/anne").text
    for words in (
        "ARCHER, Test",
        "10001",
        "03 Feb 1951",
        "Heart failure",
        "C-reactive protein",
        "<polyline",
    ):
        assert words in page
    assert "20 Nov 2026 06:41" in page
    assert browser.client.get("/ehr/patients/nobody").status_code == 404


def test_chart_when_values_are_high_flags_them(browser: Browser) -> None:
    browser.sign_in()
    assert '<abbr class="flag"' in browser.client.get("/ehr/patients/anne?tab=results").text


def test_hook_when_fired_sends_signed_token_context_and_prefetch(
    ward: Browser, cds_service: FakeCdsService
) -> None:
    ward.client.get("/ehr/patients/anne/cards")
    path, headers, body = cds_service.requests[-1]
    assert path == "/t/st-brevis/cds-services/similar"
    assert body is not None
    keys = KeySet.import_key_set({"keys": ward.hospital.keys.hook_jwks()["keys"]})
    token = jwt.decode(headers["Authorization"].removeprefix("Bearer "), keys, ["ES384"])
    assert token.header["typ"] == "JWT"
    assert token.header["jku"] == f"{BASE_URL}/.well-known/cds-hooks-jwks.json"
    assert token.claims["aud"] == f"{cds_service.url}{path}"
    assert token.claims["exp"] - token.claims["iat"] == 300
    assert body["context"] == {
        "userId": "Practitioner/u-radiologist",
        "patientId": "anne",
        "encounterId": "visit-anne",
    }
    assert body["fhirAuthorization"]["token_type"] == "Bearer"
    assert body["fhirAuthorization"]["patient"] == "anne"
    assert set(body["prefetch"]) == {"patient", "labs"}
    assert body["prefetch"]["labs"]["total"] == 10
    assert len(body["prefetch"]["labs"]["entry"]) == 3


def test_hook_token_when_the_answer_is_there_is_no_longer_good(
    ward: Browser, cds_service: FakeCdsService
) -> None:
    ward.client.get("/ehr/patients/anne/cards")
    body = cds_service.requests[-1][2]
    assert body is not None
    token = body["fhirAuthorization"]["access_token"]
    assert ward.get("/fhir/Patient/anne", token).status_code == 401


def test_cards_when_detail_is_hostile_are_shown_harmless(ward: Browser) -> None:
    page = ward.client.get("/ehr/patients/anne/cards").text
    assert "Image not compared: header mismatch" in page
    assert "<strong>Why</strong>" in page
    assert "<img" not in page
    assert 'href="javascript' not in page
    assert "Already seen" in page
    assert "study-anne" in page


@pytest.mark.parametrize(
    "change",
    [{"summary": "x" * 140}, {"indicator": "hard-stop"}, {"source": {}}],
    ids=["summary-of-140", "dead-indicator", "no-source"],
)
def test_card_when_it_breaks_the_rules_is_not_shown(
    ward: Browser, cds_service: FakeCdsService, change: dict[str, Any]
) -> None:
    cds_service.cards = [CARD | change]
    page = ward.client.get("/ehr/patients/anne/cards").text
    assert "broke the rules" in page
    assert "<article" not in page


def test_cards_when_service_is_silent_says_so(ward: Browser, cds_service: FakeCdsService) -> None:
    cds_service.cards = []
    assert "No advice for this patient" in ward.client.get("/ehr/patients/anne/cards").text


def test_cards_when_service_fails_leaves_the_chart_whole(
    ward: Browser, cds_service: FakeCdsService
) -> None:
    cds_service.status = 500
    answer = ward.client.get("/ehr/patients/anne/cards")
    assert answer.status_code == 200
    assert "refused the call (500)" in answer.text
    cds_service.shutdown()
    cds_service.server_close()
    assert "The chart is complete without it" in ward.client.get("/ehr/patients/anne/cards").text
    assert ward.client.get("/ehr/patients/anne").status_code == 200


def test_form_when_posted_by_another_origin_is_403(browser: Browser) -> None:
    browser.sign_in()
    answer = browser.client.post(
        "/ehr/patients/anne/launch", json={}, headers={"Origin": "http://evil.invalid"}
    )
    assert answer.status_code == 403


def test_order_when_drafted_and_signed_is_listed(browser: Browser) -> None:
    browser.sign_in()
    browser.client.post(
        "/ehr/patients/anne/orders", data={"order": "ct-chest", "reason": "weight loss"}
    )
    page = browser.client.get("/ehr/patients/anne?tab=orders").text
    assert "CT chest with contrast" in page
    (order,) = browser.hospital.store.of_patient("ServiceRequest", "anne")
    assert order["status"] == "draft"
    browser.client.post(f"/ehr/patients/anne/orders/{order['id']}", data={"do": "sign"})
    (order,) = browser.hospital.store.of_patient("ServiceRequest", "anne")
    assert order["status"] == "active"
    unknown = browser.client.post("/ehr/patients/anne/orders", data={"order": "x"})
    assert unknown.status_code == 400


def test_outage_when_switched_on_the_screen_takes_the_pacs_down(browser: Browser) -> None:
    browser.sign_in()
    browser.client.post("/ehr/controls", data={"server": "pacs", "state": "down"})
    assert browser.hospital.pacs_switch.is_refusing()
    assert browser.client.post("/ehr/controls", data={"server": "x"}).status_code == 400


def test_page_when_served_carries_a_policy_without_foreign_hosts(browser: Browser) -> None:
    browser.sign_in()
    policy = browser.client.get("/ehr/patients").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-src 'self' http://127.0.0.1:8000" in policy
    assert "unsafe" not in policy
