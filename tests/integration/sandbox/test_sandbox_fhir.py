"""The sandbox's FHIR store: reads, searches, pages, and whose records a token opens."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox.web.switches import ServerState
from tests.integration.sandbox.conftest import BASE_URL, Browser

ALL = "launch patient/*.rs"


@pytest.fixture
def token(browser: Browser) -> str:
    return str(browser.token(scope=f"{ALL} patient/DiagnosticReport.c")["access_token"])


def ids(bundle: dict[str, Any]) -> list[str]:
    return [entry["resource"]["id"] for entry in bundle.get("entry", ())]


def test_read_when_without_token_is_401_with_a_challenge(browser: Browser) -> None:
    answer = browser.client.get("/fhir/Patient/anne")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert answer.get_json()["resourceType"] == "OperationOutcome"


def test_read_when_permitted_gives_fhir_json_with_etag(browser: Browser, token: str) -> None:
    answer = browser.get("/fhir/Patient/anne", token)
    assert answer.content_type == "application/fhir+json; charset=utf-8"
    assert answer.headers["ETag"] == 'W/"1"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.get_json()["id"] == "anne"


@pytest.mark.parametrize(
    "path",
    ["/fhir/Patient/ben", "/fhir/Observation/crp-ben-0", "/fhir/Observation?patient=ben"],
)
def test_record_when_of_another_patient_is_403(browser: Browser, token: str, path: str) -> None:
    assert browser.get(path, token).status_code == 403


def test_search_when_no_patient_is_named_stays_in_the_compartment(
    browser: Browser, token: str
) -> None:
    bundle = browser.get("/fhir/Observation?_count=200", token).get_json()
    assert bundle["total"] == 10
    assert all("anne" in one for one in ids(bundle))


def test_read_when_the_scope_does_not_cover_the_type_is_403(browser: Browser) -> None:
    narrow = browser.token(scope="launch patient/Patient.r")["access_token"]
    answer = browser.get("/fhir/Observation?patient=anne", narrow)
    assert answer.status_code == 403
    assert "insufficient_scope" in answer.headers["WWW-Authenticate"]


def test_search_when_only_read_is_granted_is_403(browser: Browser) -> None:
    narrow = browser.token(scope="launch patient/Patient.r")["access_token"]
    assert browser.get("/fhir/Patient?_id=anne", narrow).status_code == 403


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("patient=anne&_count=1", 10),
        ("patient=Patient/anne", 10),
        (f"patient={BASE_URL}/fhir/Patient/anne", 10),
        ("subject=Patient/anne", 10),
        ("category=laboratory", 10),
        ("category=laboratory,vital-signs", 10),
        ("category=vital-signs", 0),
        ("code=1988-5", 10),
        ("code=http://loinc.org|1988-5", 10),
        ("code=http://other.invalid|1988-5", 0),
        ("date=ge2026-11-18", 2),
        ("date=gt2026-11-18", 1),
        ("date=2026-11-12", 1),
        ("date=le2026-11-11", 2),
        ("date=ge2026-11-12&date=lt2026-11-14", 2),
        ("date=2026-11", 10),
        ("_id=crp-anne-1,crp-anne-2", 2),
        ("status=final", 10),
    ],
)
def test_search_when_criteria_are_given_counts_the_matches(
    browser: Browser, token: str, query: str, expected: int
) -> None:
    answer = browser.get(f"/fhir/Observation?{query}", token)
    assert answer.status_code == 200
    assert answer.get_json()["total"] == expected


def test_search_when_nothing_matches_has_no_entry(browser: Browser, token: str) -> None:
    bundle = browser.get("/fhir/Observation?code=none", token).get_json()
    assert bundle["total"] == 0
    assert "entry" not in bundle


def test_search_when_followed_by_its_links_gives_every_match_once(
    browser: Browser, token: str
) -> None:
    found: list[str] = []
    url: str | None = f"{BASE_URL}/fhir/Observation?patient=anne&_sort=-date&_count=4"
    while url:
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}" == BASE_URL
        bundle = browser.get(f"{parts.path}?{parts.query}", token).get_json()
        found += ids(bundle)
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
    assert found == [f"crp-anne-{n}" for n in range(9, -1, -1)]


def test_search_when_posted_answers_as_the_query_does(browser: Browser, token: str) -> None:
    answer = browser.client.post(
        "/fhir/Observation/_search",
        data={"patient": "Patient/anne", "_count": "3"},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.get_json()["total"] == 10
    assert len(ids(answer.get_json())) == 3


def test_include_when_asked_brings_the_endpoint_with_its_address(
    browser: Browser, token: str
) -> None:
    bundle = browser.get(
        "/fhir/ImagingStudy?patient=anne&modality=DX&_include=ImagingStudy:endpoint", token
    ).get_json()
    modes = [entry["search"]["mode"] for entry in bundle["entry"]]
    assert modes == ["match", "include"]
    assert bundle["total"] == 1
    assert bundle["entry"][1]["resource"]["address"] == f"{BASE_URL}/dicomweb"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("Observation?unheard-of=1", 400),
        ("Observation?date=yesterday", 400),
        ("Observation?_count=many", 400),
        ("Observation?_sort=mood", 400),
        ("ImagingStudy?_include=ImagingStudy:mood", 400),
        ("Appointment?patient=anne", 404),
        ("Observation/none", 404),
    ],
)
def test_request_when_not_supported_says_so(
    browser: Browser, token: str, query: str, status: int
) -> None:
    answer = browser.get(f"/fhir/{query}", token)
    assert answer.status_code == status
    assert answer.get_json()["resourceType"] == "OperationOutcome"


def test_accept_when_xml_only_is_406(browser: Browser, token: str) -> None:
    answer = browser.get("/fhir/Patient/anne", token, Accept="application/fhir+xml")
    assert answer.status_code == 406


def test_create_when_report_is_of_the_tokens_patient_is_stored(
    browser: Browser, token: str
) -> None:
    report = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "code": {"text": "Comparison"},
        "subject": {"reference": "Patient/anne"},
    }
    headers = {"Authorization": f"Bearer {token}"}
    created = browser.client.post("/fhir/DiagnosticReport", json=report, headers=headers)
    assert created.status_code == 201
    path = urlsplit(created.headers["Location"]).path.removesuffix("/_history/1")
    assert browser.get(path, token).get_json()["status"] == "preliminary"
    other = report | {"subject": {"reference": "Patient/ben"}}
    answer = browser.client.post("/fhir/DiagnosticReport", json=other, headers=headers)
    assert answer.status_code == 403


def test_create_when_the_type_is_not_granted_is_403(browser: Browser, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    body = {"resourceType": "Condition", "subject": {"reference": "Patient/anne"}}
    assert browser.client.post("/fhir/Condition", json=body, headers=headers).status_code == 403


def test_metadata_when_read_without_token_states_the_version(browser: Browser) -> None:
    document = browser.client.get("/fhir/metadata").get_json()
    assert document["fhirVersion"] == "4.0.1"
    assert document["date"]


def test_store_when_switched_off_answers_503(browser: Browser, token: str) -> None:
    browser.hospital.fhir_switch.turn(ServerState.DOWN)
    assert browser.get("/fhir/Patient/anne", token).status_code == 503
    browser.hospital.fhir_switch.turn(ServerState.UP)
    assert browser.get("/fhir/Patient/anne", token).status_code == 200
