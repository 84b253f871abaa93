"""Reading reports through the FHIR API: who may, what comes, and how refusals look."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from cds.domain.registration import ReportMode
from cds.domain.source_attributes import SOURCE_ATTRIBUTE_KEYS, SourceAttributeCard
from cds.fhir.validation import validated
from tests.builders.answers import (
    EHR_ID,
    NOW,
    PATIENT_ID,
    REPORT_ID,
    a_case_report,
    a_finding_statement,
    a_registration,
)
from tests.fakes.engine import FakeTokenClaims
from tests.fakes.machine_door import MachineDoor

BASE = f"/t/{EHR_ID}/fhir"
REPORT = f"{BASE}/DiagnosticReport/{REPORT_ID}"
SEARCH = f"{BASE}/DiagnosticReport"
PATIENT_TOKEN, USER_TOKEN, SYSTEM_TOKEN = "patient-token", "user-token", "system-token"
OTHER_REPORT_ID = "7f1c1c5e-1f0b-4c57-9b0e-0d6c6a9f8f22"


class FhirDoor(MachineDoor):
    """The FHIR API with two patients' reports and a token of each level."""

    def __init__(self, *registrations: Any) -> None:
        super().__init__(*registrations)
        self.engine.results.save(a_case_report(), requested_by="hook")
        self.engine.results.save(
            a_case_report(report_id=OTHER_REPORT_ID, patient_id="p5"), requested_by="hook"
        )
        self.grant(PATIENT_TOKEN, "patient/*.rs", patient_id=PATIENT_ID)
        self.grant(USER_TOKEN, "user/*.read")
        self.grant(SYSTEM_TOKEN, "system/*.rs")

    def grant(
        self,
        token: str,
        scope: str,
        *,
        patient_id: str | None = None,
        fhir_user: str | None = "Practitioner/okafor",
    ) -> None:
        self.engine.tokens[token] = FakeTokenClaims(
            scope,
            "some-client",
            patient_id,
            NOW + timedelta(minutes=5),
            subject="okafor",
            fhir_user=fhir_user,
        )

    def get(self, path: str, token: str | None = PATIENT_TOKEN, **headers: str) -> TestResponse:
        bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.http.get(path, headers={**bearer, **headers})


@pytest.fixture
def door() -> FhirDoor:
    return FhirDoor()


# --- who may -----------------------------------------------------------------------------------


@pytest.mark.requirement("FHIR-UNAUTHORIZED")
@pytest.mark.parametrize(
    "path",
    [
        REPORT,
        SEARCH,
        f"{BASE}/Observation/x",
        f"{BASE}/Device/x",
        f"{BASE}/DocumentReference/x",
    ],
    ids=str,
)
def test_read_when_there_is_no_token_is_401_without_an_error_code(
    door: FhirDoor, path: str
) -> None:
    response = door.get(path, token=None)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="precedent"'
    assert response.get_json()["issue"][0]["code"] == "login"


@pytest.mark.requirement("SMART-INTROSPECTION-ACTIVE")
def test_read_when_the_token_is_not_active_is_401_invalid_token(door: FhirDoor) -> None:
    response = door.get(REPORT, token="unknown")
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


def test_read_when_the_token_ran_out_after_introspection_is_401(door: FhirDoor) -> None:
    door.clock.advance(timedelta(minutes=5))
    assert door.get(REPORT).status_code == 401


def test_read_when_basic_credentials_are_sent_is_401(door: FhirDoor) -> None:
    assert door.http.get(REPORT, headers={"Authorization": "Basic eDp5"}).status_code == 401


def test_read_when_the_token_stands_in_the_url_is_401(door: FhirDoor) -> None:
    assert door.get(f"{REPORT}?access_token={PATIENT_TOKEN}", token=None).status_code == 401


@pytest.mark.requirement("FHIR-UNAUTHORIZED")
@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ("patient/DiagnosticReport.rs", 200),
        ("patient/DiagnosticReport.read", 200),
        ("patient/Observation.rs", 403),
        ("patient/DiagnosticReport.s", 403),
        ("patient/DiagnosticReport.write", 403),
        ("openid fhirUser", 403),
    ],
)
def test_read_when_scopes_are_given_is_allowed_by_them_only(
    door: FhirDoor, scope: str, status: int
) -> None:
    door.grant("t", scope, patient_id=PATIENT_ID)
    response = door.get(REPORT, token="t")
    assert response.status_code == status
    if status == 403:
        assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]


def test_read_when_a_patient_scope_has_no_patient_is_403(door: FhirDoor) -> None:
    door.grant("t", "patient/*.rs")
    assert door.get(REPORT, token="t").status_code == 403


@pytest.mark.requirement("FHIR-COMPARTMENT")
def test_read_when_the_report_is_another_patients_does_not_exist(door: FhirDoor) -> None:
    for kind, resource_id in (
        ("DiagnosticReport", OTHER_REPORT_ID),
        ("Observation", f"{OTHER_REPORT_ID}-comparison"),
        ("Device", f"{OTHER_REPORT_ID}-device"),
        ("DocumentReference", f"{OTHER_REPORT_ID}-model-card"),
    ):
        theirs = door.get(f"{BASE}/{kind}/{resource_id}")
        unknown = door.get(f"{BASE}/{kind}/{'0' * 8}-0000-4000-8000-{'0' * 12}")
        assert theirs.status_code == unknown.status_code == 404
        assert theirs.get_json() == unknown.get_json()


@pytest.mark.requirement("FHIR-COMPARTMENT")
def test_search_when_the_patient_is_another_one_is_403(door: FhirDoor) -> None:
    assert door.get(f"{SEARCH}?patient=p5").status_code == 403


@pytest.mark.parametrize("token", [USER_TOKEN, SYSTEM_TOKEN])
def test_read_when_the_token_is_for_the_whole_ehr_sees_both(door: FhirDoor, token: str) -> None:
    for report_id in (REPORT_ID, OTHER_REPORT_ID):
        assert door.get(f"{SEARCH}/{report_id}", token=token).status_code == 200


@pytest.mark.requirement("FHIR-COMPARTMENT")
def test_read_when_a_user_scope_has_a_patient_in_context_sees_that_patient_only(
    door: FhirDoor,
) -> None:
    door.grant("t", "user/*.rs patient/*.rs", patient_id=PATIENT_ID)
    assert door.get(REPORT, token="t").status_code == 200
    assert door.get(f"{SEARCH}/{OTHER_REPORT_ID}", token="t").status_code == 404
    assert door.get(f"{SEARCH}?patient=p5", token="t").status_code == 403


@pytest.mark.requirement("FHIR-COMPARTMENT")
@pytest.mark.parametrize(
    ("fhir_user", "status"),
    [
        ("https://ehr.example.invalid/r4/Practitioner/okafor", 200),
        ("Practitioner/okafor", 200),
        (None, 403),
        ("https://ehr.example.invalid/r4/Patient/p5", 403),
        ("RelatedPerson/r1", 403),
        ("Patient/p5/_history/1", 403),
    ],
)
def test_read_when_a_user_scope_is_no_clinicians_is_403(
    door: FhirDoor, fhir_user: str | None, status: int
) -> None:
    door.grant("t", "user/*.rs", fhir_user=fhir_user)
    assert door.get(REPORT, token="t").status_code == status


def test_read_when_the_report_is_another_ehrs_is_404() -> None:
    door = FhirDoor(a_registration(), a_registration(ehr_id="northmere"))
    response = door.get(f"/t/northmere/fhir/DiagnosticReport/{REPORT_ID}", token=USER_TOKEN)
    assert response.status_code == 404


@pytest.mark.parametrize("mode", [ReportMode.OFF, ReportMode.DRAFT])
def test_read_when_the_report_mode_is_not_preliminary_is_404(mode: ReportMode) -> None:
    door = FhirDoor(a_registration(report_mode=mode))
    assert door.get(REPORT).status_code == 404
    assert door.get(f"{SEARCH}?patient={PATIENT_ID}").status_code == 404


def test_read_when_the_authorization_server_is_down_is_502(door: FhirDoor) -> None:
    door.engine.peers_are_down = True
    response = door.get(REPORT)
    assert response.status_code == 502
    assert response.get_json()["issue"][0]["code"] == "transient"


def test_read_when_done_is_audited_without_the_patient(door: FhirDoor) -> None:
    door.get(REPORT)
    (event,) = door.engine.audit.events
    assert (event.action, event.who, event.entity) == (
        "report.read",
        "okafor via some-client",
        REPORT_ID,
    )
    assert event.patient_key not in {None, PATIENT_ID}


# --- what comes --------------------------------------------------------------------------------


@pytest.mark.requirement("FHIR-READ")
@pytest.mark.requirement("FHIR-AI-LABEL")
def test_read_when_allowed_returns_the_preliminary_report(door: FhirDoor) -> None:
    response = door.get(REPORT)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/fhir+json; charset=utf-8"
    assert response.headers["ETag"] == 'W/"1"'
    assert response.headers["Last-Modified"] == "Thu, 12 Nov 2026 01:35:00 GMT"
    assert response.headers["Cache-Control"] == "no-store"
    report = response.get_json()
    assert (report["resourceType"], report["id"]) == ("DiagnosticReport", REPORT_ID)
    assert report["status"] == "preliminary"
    assert "AIAST" in [label["code"] for label in report["meta"]["security"]]
    assert validated(report)


def test_read_when_the_caller_has_it_already_is_304(door: FhirDoor) -> None:
    response = door.get(REPORT, **{"If-None-Match": 'W/"1"'})
    assert (response.status_code, response.data) == (304, b"")


def test_read_when_the_result_references_are_followed_finds_them(door: FhirDoor) -> None:
    report = door.get(REPORT).get_json()
    for result in report["result"]:
        observation = door.get(f"{BASE}/{result['reference']}").get_json()
        assert observation["resourceType"] == "Observation"
        device = door.get(f"{BASE}/{observation['device']['reference']}").get_json()
        assert device["resourceType"] == "Device"


@pytest.mark.requirement("DSI-SOURCE-ATTRIBUTES")
def test_read_when_the_device_links_its_model_card_the_card_holds_all_attributes(
    door: FhirDoor,
) -> None:
    device = door.get(f"{BASE}/Device/{REPORT_ID}-device").get_json()
    (link,) = device["extension"]
    assert link["url"].endswith("aitransparency.modelCardDescription")
    document = door.get(f"{BASE}/{link['valueReference']['reference']}").get_json()
    assert validated(device)
    assert validated(document)
    assert document["subject"] == {"reference": f"Device/{device['id']}"}
    markdown, plain = (
        base64.b64decode(one["attachment"]["data"], validate=True) for one in document["content"]
    )
    listed = [one["key"] for one in json.loads(plain)["attributes"]]
    assert listed == list(SOURCE_ATTRIBUTE_KEYS)
    assert markdown.decode().count("| not available: ") == len(listed)


def test_read_when_the_model_in_force_is_another_links_no_card(door: FhirDoor) -> None:
    door.engine.card = SourceAttributeCard.of_unknown("encoder-2", "1" * 64)
    device = door.get(f"{BASE}/Device/{REPORT_ID}-device").get_json()
    assert "extension" not in device
    assert door.get(f"{BASE}/DocumentReference/{REPORT_ID}-model-card").status_code == 404


def test_read_when_the_card_was_stated_anew_has_another_version(door: FhirDoor) -> None:
    path = f"{BASE}/DocumentReference/{REPORT_ID}-model-card"
    first = door.get(path)
    assert door.get(path, **{"If-None-Match": first.headers["ETag"]}).status_code == 304
    door.engine.card = replace(door.engine.card, stated_on="2026-11-27")
    second = door.get(path)
    assert second.headers["ETag"] != first.headers["ETag"]
    assert second.get_json()["date"] == "2026-11-27T00:00:00Z"
    assert validated(second.get_json())


def test_read_when_another_resource_of_the_report_is_asked_by_its_id_is_404(
    door: FhirDoor,
) -> None:
    assert door.get(f"{BASE}/Observation/{REPORT_ID}").status_code == 404
    assert door.get(f"{BASE}/Device/{REPORT_ID}-comparison").status_code == 404


def test_read_when_counts_are_small_masks_them(door: FhirDoor) -> None:
    few = a_finding_statement(n_with=3, sentence="Of the 31, 3 had heart failure recorded.")
    report_id = "8f1c1c5e-1f0b-4c57-9b0e-0d6c6a9f8f33"
    door.engine.results.save(
        a_case_report(report_id=report_id, findings=(few,)), requested_by="hook"
    )
    report = door.get(f"{SEARCH}/{report_id}").text
    observation = door.get(f"{BASE}/Observation/{report_id}-finding-1").text
    assert "fewer than 5" in report + observation
    assert "3 had" not in report + observation


@pytest.mark.parametrize("accept", ["application/fhir+json", "application/json", "*/*", ""])
def test_read_when_json_is_accepted_answers(door: FhirDoor, accept: str) -> None:
    assert door.get(REPORT, Accept=accept).status_code == 200


def test_read_when_the_sandbox_asks_in_the_old_way_answers(door: FhirDoor) -> None:
    assert door.get(REPORT, Accept="application/json+fhir").status_code == 200
    assert door.get(f"{REPORT}?_format=json", Accept="text/html").status_code == 200
    assert door.get(f"{REPORT}?_format=application/fhir%2Bjson").status_code == 200


@pytest.mark.parametrize("path", [f"{REPORT}?_format=xml", REPORT])
def test_read_when_xml_is_wanted_is_406(door: FhirDoor, path: str) -> None:
    assert door.get(path, Accept="application/fhir+xml").status_code == 406


# --- search ------------------------------------------------------------------------------------


@pytest.mark.requirement("FHIR-SEARCH-SELF")
def test_search_when_done_lists_this_patients_reports(door: FhirDoor) -> None:
    bundle = door.get(f"{SEARCH}?patient=Patient/{PATIENT_ID}&unknown=1").get_json()
    assert (bundle["type"], bundle["total"]) == ("searchset", 1)
    (entry,) = bundle["entry"]
    base = f"https://cds.example.invalid{BASE}"
    assert entry["fullUrl"] == f"{base}/DiagnosticReport/{REPORT_ID}"
    assert entry["search"] == {"mode": "match"}
    assert bundle["link"] == [
        {
            "relation": "self",
            "url": f"{base}/DiagnosticReport?patient=Patient%2F{PATIENT_ID}&_count=20",
        }
    ]
    assert validated(bundle)


def several_answers(door: FhirDoor, n: int) -> list[str]:
    """Keep `n` answers about a third patient; returns their ids, newest first."""
    ids = [f"00000000-0000-4000-8000-{number:012}" for number in range(n)]
    for number, report_id in enumerate(ids):
        made_at = NOW - timedelta(days=1 + number)
        report = a_case_report(report_id=report_id, patient_id="p6", created_at=made_at)
        door.engine.results.save(report, requested_by="hook")
    return ids


def statuses(bundle: dict[str, Any]) -> dict[str, str]:
    entries = bundle.get("entry", [])
    return {entry["resource"]["id"]: entry["resource"]["status"] for entry in entries}


def test_search_when_an_old_answers_study_was_moved_serves_it_as_an_error(door: FhirDoor) -> None:
    ids = several_answers(door, 9)
    door.engine.background.moved = {ids[7]}
    bundle = door.get(f"{SEARCH}?patient=p6", token=SYSTEM_TOKEN).get_json()
    assert [key for key, status in statuses(bundle).items() if status != "preliminary"] == [ids[7]]
    assert door.engine.background.looked == ids


def test_search_when_a_look_withdraws_an_answer_fills_the_page_with_the_next(
    door: FhirDoor,
) -> None:
    ids = several_answers(door, 9)
    door.engine.background.moved = {ids[1]}
    path = f"{SEARCH}?patient=p6&status=preliminary&_count=3"
    bundle = door.get(path, token=SYSTEM_TOKEN).get_json()
    assert list(statuses(bundle)) == [ids[0], ids[2], ids[3]]
    assert bundle["total"] == 8
    later = [f"later {report_id}" for report_id in ids[4:]]
    assert door.engine.background.looked == ids[:4] + later


@pytest.mark.requirement("FHIR-SEARCH-EMPTY")
def test_search_when_nothing_matches_is_200_without_entry(door: FhirDoor) -> None:
    response = door.get(f"{SEARCH}?patient=nobody", token=USER_TOKEN)
    assert response.status_code == 200
    assert response.get_json()["total"] == 0
    assert "entry" not in response.get_json()


@pytest.mark.parametrize(
    ("query", "total"),
    [
        pytest.param("status=preliminary", 1, id="status"),
        pytest.param("status=final,preliminary", 1, id="status-or"),
        pytest.param("status=final", 0, id="other-status"),
        pytest.param("status=preliminary&status=final", 0, id="status-and"),
        pytest.param(
            "status=http://hl7.org/fhir/diagnostic-report-status|preliminary", 1, id="sys"
        ),
        pytest.param("status=http://other|preliminary", 0, id="other-system"),
        pytest.param("status=|preliminary", 0, id="no-system"),
        pytest.param(f"_id={REPORT_ID}", 1, id="id"),
        pytest.param(f"identifier=urn:uuid:{REPORT_ID}", 1, id="identifier"),
        pytest.param("identifier=urn:ietf:rfc:3986|", 1, id="identifier-system"),
        pytest.param("code=18748-4", 0, id="code"),
        pytest.param("category=software-comparison", 1, id="category"),
        pytest.param("subject=Patient/p4", 1, id="subject-too"),
    ],
)
def test_search_when_filtered_returns_what_matches(door: FhirDoor, query: str, total: int) -> None:
    bundle = door.get(f"{SEARCH}?patient={PATIENT_ID}&{query}").get_json()
    assert bundle["total"] == total


@pytest.mark.parametrize(
    ("query", "n_shown"), [("_count=20", 1), ("_count=0", 0), ("status=final", 0)]
)
def test_search_when_done_notes_who_was_shown_what_is_on_the_page_alone(
    door: FhirDoor, query: str, n_shown: int
) -> None:
    door.get(f"{SEARCH}?patient={PATIENT_ID}&{query}")
    seen = door.engine.background.lives.seen
    assert [(one[1], one[3]) for one in seen] == [(REPORT_ID, "fhir")] * n_shown


@pytest.mark.parametrize(
    "patient",
    [
        f"{PATIENT_ID}",
        f"Patient/{PATIENT_ID}",
        f"https://ehr.example.invalid/r4/Patient/{PATIENT_ID}",
    ],
    ids=["id", "relative", "absolute"],
)
def test_search_when_the_patient_is_written_in_any_form_finds_it(
    door: FhirDoor, patient: str
) -> None:
    assert door.get(f"{SEARCH}?patient={patient}").get_json()["total"] == 1


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("", id="no-patient"),
        pytest.param("patient=", id="blank"),
        pytest.param("patient=p4&patient=p5", id="two"),
        pytest.param("patient=Group/p4", id="other-type"),
        pytest.param("patient=https://other.example.invalid/r4/Patient/p4", id="other-server"),
        pytest.param("patient=p4&_count=x", id="count"),
        pytest.param("patient=p4&_count=-1", id="negative-count"),
        pytest.param("patient=p4&_count=1&_count=2", id="two-counts"),
    ],
)
def test_search_when_a_parameter_is_malformed_is_400(door: FhirDoor, query: str) -> None:
    assert door.get(f"{SEARCH}?{query}").status_code == 400


def test_search_when_strict_refuses_an_unknown_parameter(door: FhirDoor) -> None:
    path = f"{SEARCH}?patient={PATIENT_ID}&unknown=1"
    assert door.get(path, Prefer="handling=strict").status_code == 400
    assert door.get(path, Prefer="handling=lenient").status_code == 200


def test_search_when_paged_gives_each_report_once(door: FhirDoor) -> None:
    for n in range(4):
        door.engine.results.save(
            a_case_report(
                report_id=f"{n}f1c1c5e-1f0b-4c57-9b0e-0d6c6a9f8f99",
                created_at=NOW + timedelta(minutes=n),
            ),
            requested_by="hook",
        )
    url: str | None = f"{SEARCH}?patient={PATIENT_ID}&_count=2"
    seen: list[str] = []
    while url is not None:
        bundle = door.get(url.removeprefix("https://cds.example.invalid")).get_json()
        assert bundle["total"] == 5
        seen += [entry["resource"]["id"] for entry in bundle["entry"]]
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        url = links.get("next")
    assert len(seen) == len(set(seen)) == 5
    assert seen[0].startswith("3f1c")


def test_search_when_the_count_is_zero_gives_the_total_only(door: FhirDoor) -> None:
    bundle = door.get(f"{SEARCH}?patient={PATIENT_ID}&_count=0").get_json()
    assert (bundle["total"], bundle.get("entry")) == (1, None)
    assert len(bundle["link"]) == 1


def test_search_when_posted_reads_the_body(door: FhirDoor) -> None:
    headers = {"Authorization": f"Bearer {PATIENT_TOKEN}"}
    response = door.http.post(f"{SEARCH}/_search", data={"patient": PATIENT_ID}, headers=headers)
    assert response.get_json()["total"] == 1
    other = door.http.post(f"{SEARCH}/_search", json={"patient": PATIENT_ID}, headers=headers)
    assert other.status_code == 415


# --- metadata, alias ---------------------------------------------------------------------------


@pytest.mark.requirement("FHIR-METADATA")
def test_metadata_when_read_by_anyone_is_a_valid_statement(door: FhirDoor) -> None:
    response = door.get(f"{BASE}/metadata", token=None)
    assert response.status_code == 200
    statement = response.get_json()
    assert validated(statement)
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["date"]
    assert statement["implementation"]["url"] == f"https://cds.example.invalid{BASE}"
    served = {resource["type"] for resource in statement["rest"][0]["resource"]}
    assert served == {"DiagnosticReport", "Observation", "Device", "DocumentReference"}


def test_metadata_when_it_lists_search_parameters_strict_search_takes_each(door: FhirDoor) -> None:
    statement = door.get(f"{BASE}/metadata").get_json()
    (report,) = [r for r in statement["rest"][0]["resource"] if r["type"] == "DiagnosticReport"]
    for name in {p["name"] for p in report["searchParam"]} - {"patient", "subject"}:
        path = f"{SEARCH}?patient={PATIENT_ID}&{name}=x"
        response = door.get(path, Prefer="handling=strict")
        assert (response.status_code, response.get_json()["total"]) == (200, 0)


def test_smart_configuration_when_read_names_the_ehrs_own_server(door: FhirDoor) -> None:
    response = door.get(f"{BASE}/.well-known/smart-configuration", token=None)
    assert response.headers["Content-Type"] == "application/json"
    document = response.get_json()
    assert document["token_endpoint"] == "https://ehr.example.invalid/token"
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert "introspection_endpoint" not in document


def test_alias_when_one_ehr_is_registered_answers_under_its_own_base(door: FhirDoor) -> None:
    bundle = door.get(f"/fhir/DiagnosticReport?patient={PATIENT_ID}").get_json()
    assert bundle["entry"][0]["fullUrl"].startswith("https://cds.example.invalid/fhir/")
    assert door.get("/fhir/metadata", token=None).status_code == 200


def test_alias_when_several_ehrs_are_registered_names_the_tenants_base() -> None:
    door = FhirDoor(a_registration(), a_registration(ehr_id="northmere"))
    response = door.get("/fhir/metadata", token=None)
    assert response.status_code == 404
    assert "/t/{ehr}/fhir" in response.get_json()["issue"][0]["details"]["text"]


@pytest.mark.requirement("FHIR-ERROR-OUTCOME")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", f"{BASE}/Patient/p4", 404), ("DELETE", REPORT, 405), ("POST", SEARCH, 405)],
)
def test_interaction_when_not_served_has_an_outcome(
    door: FhirDoor, method: str, path: str, status: int
) -> None:
    response = door.http.open(path, method=method)
    assert response.status_code == status
    assert response.get_json()["resourceType"] == "OperationOutcome"
