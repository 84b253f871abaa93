"""The SMART EHR launch against a real local authorization server, and everything it refuses."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from cds.domain.secrecy import SecretText
from smart_app.application import create_app
from tests.builders.case_report import a_context, a_launch_analysis, a_study
from tests.fakes.launch_engine import FakeLaunchEngine
from tests.fakes.smart_server import SmartServer, running_smart_server

STUDY_UID = a_study().study_instance_uid


@pytest.fixture
def server() -> Iterator[SmartServer]:
    with running_smart_server() as running:
        yield running


@pytest.fixture
def engine(server: SmartServer) -> FakeLaunchEngine:
    server.token_members["appContext"] = f'{{"study":"{STUDY_UID}"}}'
    return FakeLaunchEngine(server.fhir_base_url)


@pytest.fixture
def app(engine: FakeLaunchEngine) -> Flask:
    return create_app(engine)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def start(client: FlaskClient, server: SmartServer, **values: str) -> TestResponse:
    query = {"iss": server.fhir_base_url, "launch": "launch-1", **values}
    return client.get("/launch?" + urlencode(query))


def authorize(response: TestResponse) -> dict[str, str]:
    """Follow the browser to the authorization server and return the callback's parameters."""
    assert response.status_code == 303
    got = requests.get(response.headers["Location"], allow_redirects=False, timeout=5)
    return dict(parse_qsl(urlsplit(got.headers["Location"]).query))


def come_back(client: FlaskClient, parameters: dict[str, str]) -> TestResponse:
    return client.get("/callback?" + urlencode(parameters))


def launched(client: FlaskClient, server: SmartServer) -> TestResponse:
    return come_back(client, authorize(start(client, server)))


def test_launch_of_registered_ehr_shows_the_study(
    client: FlaskClient, server: SmartServer, engine: FakeLaunchEngine
) -> None:
    page = client.get(launched(client, server).headers["Location"])
    assert page.status_code == 200
    assert "Weber, Ingrid" in page.text
    access, hint, _ = engine.analysed[-1]
    assert access.access_token == SecretText("token-of-p4")
    assert access.patient_id == "p4"
    assert hint is not None
    assert hint.study_instance_uid == STUDY_UID


@pytest.mark.requirement(
    "SMART-C1", "SMART-AUD", "SMART-LAUNCH-ECHO", "SMART-PKCE", "SMART-DISCOVERY"
)
def test_authorization_request_carries_what_the_standard_demands(
    client: FlaskClient, server: SmartServer
) -> None:
    asked = parse_qs(urlsplit(start(client, server).headers["Location"]).query)
    assert asked["aud"] == [server.fhir_base_url]
    assert asked["launch"] == ["launch-1"]
    assert asked["response_type"] == ["code"]
    assert asked["redirect_uri"] == ["http://127.0.0.1:8000/callback"]
    assert asked["code_challenge_method"] == ["S256"]
    assert len(asked["state"][0]) >= 43  # 256 bits in base64url
    assert asked["scope"][0].split()[:4] == ["launch", "openid", "fhirUser", "patient/Patient.r"]


def test_scopes_are_spelled_in_v1_when_the_server_does_not_announce_v2(
    client: FlaskClient, server: SmartServer
) -> None:
    server.configuration["capabilities"] = ["launch-ehr", "sso-openid-connect", "permission-v1"]
    asked = parse_qs(urlsplit(start(client, server).headers["Location"]).query)
    assert "patient/ImagingStudy.read" in asked["scope"][0].split()
    assert launched(client, server).status_code == 303


@pytest.mark.requirement("SMART-C2", "SMART-REDIRECT-EXACT")
def test_token_request_proves_possession_of_the_verifier(
    client: FlaskClient, server: SmartServer
) -> None:
    launched(client, server)
    asked = next(a for a in server.asked if a[1] == "/authorize")[2]
    method, _, form, headers = next(a for a in server.asked if a[1] == "/token")
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
    assert (method, form["grant_type"], form["client_id"]) == (
        "POST",
        "authorization_code",
        "precedent",
    )
    assert "Authorization" not in headers


@pytest.mark.requirement("SMART-CONFIDENTIAL-CLIENT-ID")
def test_client_secret_with_reserved_characters_is_form_encoded(server: SmartServer) -> None:
    server.client_secret = "a+b/c%d:\u00fc"
    engine = FakeLaunchEngine(server.fhir_base_url, client_secret=SecretText(server.client_secret))
    client = create_app(engine).test_client()
    assert launched(client, server).status_code == 303


@pytest.mark.requirement("SMART-TOKEN-COOKIE")
def test_cookies_are_partitioned_secure_and_http_only(
    client: FlaskClient, server: SmartServer
) -> None:
    first = start(client, server)
    second = come_back(client, authorize(first))
    cookies = [*first.headers.getlist("Set-Cookie"), *second.headers.getlist("Set-Cookie")]
    assert len(cookies) == 3
    for cookie in cookies:
        for attribute in ("Secure", "HttpOnly", "SameSite=None", "Partitioned", "Path=/"):
            assert attribute in cookie
        assert "token-of-p4" not in cookie


def test_cookies_are_bound_to_the_host_when_served_over_https(server: SmartServer) -> None:
    engine = FakeLaunchEngine(server.fhir_base_url)
    engine.settings = replace(engine.settings, public_url="https://app.example.invalid")
    cookie = start(create_app(engine).test_client(), server).headers["Set-Cookie"]
    assert cookie.startswith("__Host-precedent-launch-")
    assert "Domain" not in cookie


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ({"iss": "https://other.example.invalid/fhir"}, 403, "not registered"),
        ({"iss": ""}, 400, "iss and launch are missing"),
        ({"launch": ""}, 400, "iss and launch are missing"),
    ],
    ids=["unknown-iss", "no-iss", "no-launch"],
)
def test_launch_that_is_not_ours_is_refused_with_a_sentence(
    client: FlaskClient, server: SmartServer, query: dict[str, str], status: int, sentence: str
) -> None:
    answer = start(client, server, **query)
    assert answer.status_code == status
    assert sentence in answer.text
    assert "administrator" in answer.text or "start the app from there" in answer.text
    assert server.asked == []


def test_iss_with_a_trailing_slash_is_another_iss(client: FlaskClient, server: SmartServer) -> None:
    assert start(client, server, iss=server.fhir_base_url + "/").status_code == 403


def test_callback_with_an_unknown_state_is_refused(client: FlaskClient) -> None:
    answer = come_back(client, {"code": "code-1", "state": "x" * 43})
    assert answer.status_code == 401
    assert "expired or was already used" in answer.text


def test_callback_a_second_time_is_refused(client: FlaskClient, server: SmartServer) -> None:
    parameters = authorize(start(client, server))
    assert come_back(client, parameters).status_code == 303
    assert come_back(client, parameters).status_code == 401


@pytest.mark.requirement("SMART-STATE")
def test_callback_in_another_browser_is_refused(
    app: Flask, client: FlaskClient, server: SmartServer
) -> None:
    parameters = authorize(start(client, server))
    answer = come_back(app.test_client(), parameters)
    assert answer.status_code == 401
    assert "another browser window" in answer.text
    assert come_back(client, parameters).status_code == 401  # the state is spent


def test_callback_after_ten_minutes_is_refused(
    client: FlaskClient, server: SmartServer, engine: FakeLaunchEngine
) -> None:
    parameters = authorize(start(client, server))
    engine.clock.advance(timedelta(minutes=10))
    assert come_back(client, parameters).status_code == 401


def test_callback_with_a_swapped_iss_is_refused_before_the_code_is_sent(
    client: FlaskClient, server: SmartServer
) -> None:
    server.authorize_answer["iss"] = "https://attacker.example.invalid"
    answer = launched(client, server)
    assert answer.status_code == 401
    assert "another server" in answer.text
    assert not [a for a in server.asked if a[1] == "/token"]


def test_callback_with_the_right_iss_is_accepted(client: FlaskClient, server: SmartServer) -> None:
    server.authorize_answer["iss"] = server.base
    assert launched(client, server).status_code == 303


def test_callback_without_the_iss_that_the_server_promised_is_refused(
    client: FlaskClient, server: SmartServer
) -> None:
    server.configuration["authorization_response_iss_parameter_supported"] = True
    answer = launched(client, server)
    assert answer.status_code == 401
    assert "another server" in answer.text
    assert not [a for a in server.asked if a[1] == "/token"]


def test_callback_with_an_error_says_what_to_do(client: FlaskClient, server: SmartServer) -> None:
    parameters = authorize(start(client, server, launch="spent"))
    assert parameters["error"] == "invalid_request"
    answer = come_back(client, {**parameters, "error_description": "<b>secret</b>"})
    assert answer.status_code == 502
    assert "did not allow this app to open" in answer.text
    assert "secret" not in answer.text


@pytest.mark.requirement("SMART-ID-TOKEN")
@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-app"},
        {"aud": ["precedent", "another-app"]},
        {"iss": "https://attacker.example.invalid"},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"iat": 4_000_000_000},
        {"sub": ""},
        {"sub": "x" * 256},
    ],
    ids=lambda claims: ",".join(f"{k}={str(v)[:12]}" for k, v in claims.items()),
)
def test_id_token_with_a_wrong_claim_is_refused(
    client: FlaskClient, server: SmartServer, claims: dict[str, Any]
) -> None:
    server.claims.update(claims)
    answer = launched(client, server)
    assert answer.status_code == 401
    assert "proof of who is signed in" in answer.text
    assert not [c for c in answer.headers.getlist("Set-Cookie") if "launch" not in c]


def test_id_token_signed_with_another_key_is_refused(
    client: FlaskClient, server: SmartServer
) -> None:
    server.signing_key = RSAKey.generate_key(2048, {"kid": "k1"})
    assert launched(client, server).status_code == 401


def test_id_token_with_another_algorithm_is_refused(
    client: FlaskClient, server: SmartServer
) -> None:
    server.algorithm = "RS512"
    assert launched(client, server).status_code == 401


@pytest.mark.parametrize("kind", ["Patient/p4", "RelatedPerson/r1", "Patient/p4/_history/1"])
def test_launch_by_a_patient_or_relative_is_refused(
    client: FlaskClient, server: SmartServer, kind: str
) -> None:
    server.claims["fhirUser"] = f"{server.fhir_base_url}/{kind}"
    answer = launched(client, server)
    assert answer.status_code == 403
    assert "for clinicians" in answer.text


@pytest.mark.requirement("SMART-GRANTED-SCOPES")
@pytest.mark.parametrize(
    ("members", "status", "sentence"),
    [
        ({"patient": None}, 412, "without a patient"),
        ({"patient": "../Patient/9"}, 412, "without a patient"),
        ({"scope": "launch openid fhirUser patient/Patient.r"}, 403, "read ImagingStudy"),
        ({"scope": "launch openid"}, 403, "read Patient and ImagingStudy"),
        ({"id_token": None}, 502, "who is signed in"),
        ({"scope": None}, 502, "what was granted"),
        ({"access_token": None}, 502, "no access token"),
        ({"token_type": "mac"}, 502, "no bearer token"),
    ],
    ids=[
        "no-patient",
        "bad-patient",
        "no-studies",
        "no-data",
        "no-id",
        "no-scope",
        "no-token",
        "mac",
    ],
)
def test_token_answer_that_is_not_enough_is_refused_with_a_sentence(
    client: FlaskClient, server: SmartServer, members: dict[str, Any], status: int, sentence: str
) -> None:
    server.token_members.update(members)
    answer = launched(client, server)
    assert answer.status_code == status
    assert sentence in answer.text


def test_token_endpoint_that_refuses_the_code_says_so(
    client: FlaskClient, server: SmartServer
) -> None:
    parameters = authorize(start(client, server))
    server.codes.clear()
    answer = come_back(client, parameters)
    assert answer.status_code == 502
    assert "start the app again from the chart" in answer.text


def test_ehr_that_is_down_gives_a_page_and_no_trace(server: SmartServer) -> None:
    engine = FakeLaunchEngine("http://127.0.0.1:9/fhir")
    answer = (
        create_app(engine)
        .test_client()
        .get("/launch?iss=http%3A%2F%2F127.0.0.1%3A9%2Ffhir&launch=launch-1")
    )
    assert answer.status_code == 502
    assert "could not be reached" in answer.text
    assert "Traceback" not in answer.text
    assert server.asked == []


def test_session_of_another_window_is_not_used(client: FlaskClient, server: SmartServer) -> None:
    first = launched(client, server).headers["Location"]
    second = launched(client, server).headers["Location"]
    assert first != second
    assert client.get(first).status_code == 200
    assert client.get(second).status_code == 200
    assert client.get("/app/study?w=0123456789ab").status_code == 401
    assert client.get("/app/study").status_code == 401


def test_session_ends_after_thirty_idle_minutes(
    client: FlaskClient, server: SmartServer, engine: FakeLaunchEngine
) -> None:
    address = launched(client, server).headers["Location"]
    engine.clock.advance(timedelta(minutes=29))
    assert client.get(address).status_code == 200
    engine.clock.advance(timedelta(minutes=30))
    answer = client.get(address)
    assert answer.status_code == 401
    assert "start the app from there" in answer.text


def test_session_ends_with_its_token(
    client: FlaskClient, server: SmartServer, engine: FakeLaunchEngine
) -> None:
    server.token_members["expires_in"] = 60
    address = launched(client, server).headers["Location"]
    engine.clock.advance(timedelta(seconds=61))
    assert client.get(address).status_code == 401


def test_sign_out_ends_the_session_on_the_server(
    client: FlaskClient, server: SmartServer, engine: FakeLaunchEngine
) -> None:
    address = launched(client, server).headers["Location"]
    window = parse_qs(urlsplit(address).query)["w"][0]
    for foreign in (
        {"Origin": "https://evil.example.invalid"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    ):
        answer = client.post("/app/sign-out", data={"w": window}, headers=foreign)
        assert answer.status_code == 403
    assert client.get(address).status_code == 200
    # A page that sends no referrer has the origin "null" in its own forms.
    own = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/app/sign-out", data={"w": window}, headers=own).status_code == 200
    assert engine.sessions.sessions == {}
    assert client.get(address).status_code == 401


def test_launches_are_audited_without_patient_identity(
    client: FlaskClient, server: SmartServer, engine: FakeLaunchEngine
) -> None:
    launched(client, server)
    server.token_members["scope"] = "launch"
    launched(client, server)
    start(client, server, iss="https://other.example.invalid/fhir")
    told = [(e.action, e.outcome, e.who) for e in engine.audit.events]
    assert told == [
        ("login", "success", "Practitioner/okafor"),
        ("login", "not-authorized", None),
        ("launch.refused", "not-authorized", None),
    ]
    assert "p4" not in {e.patient_key for e in engine.audit.events}


def test_launch_is_audited_with_what_named_the_study_and_whether_in_a_frame(
    client: FlaskClient, server: SmartServer, engine: FakeLaunchEngine
) -> None:
    server.token_members["appContext"] = '{"study": "1.2.840.1"}'
    client.environ_base["HTTP_SEC_FETCH_DEST"] = "iframe"
    launched(client, server)
    server.token_members.pop("appContext")
    client.environ_base["HTTP_SEC_FETCH_DEST"] = "document"
    launched(client, server)
    assert [event.detail for event in engine.audit.events] == [
        "study=app-context frame=yes",
        "study=none frame=no",
    ]


def test_what_a_user_was_shown_is_audited_under_the_patients_one_key(
    client: FlaskClient, server: SmartServer, engine: FakeLaunchEngine
) -> None:
    page = client.get(launched(client, server).headers["Location"])
    for address in set(re.findall(r"/app/(?:picture/query|report)/[^\"]+", page.text)):
        assert client.get(unescape(address)).status_code == 200
    assert engine.analysis.report is not None
    report_id, who = engine.analysis.report.report_id, "Practitioner/okafor"
    assert {(e.action, e.outcome, e.who, e.entity) for e in engine.audit.events} == {
        ("login", "success", who, None),
        ("study.viewed", "success", who, report_id),
        ("picture.viewed", "success", who, report_id),
        ("report.read", "success", who, report_id),
    }
    # The key that hooks and the FHIR API audit under, so that one search finds every access.
    assert {e.patient_key for e in engine.audit.events} == {
        engine.keys.patient_key("sandbox", "p4")
    }


def test_logs_of_a_launch_hold_no_token_and_no_name(
    client: FlaskClient, server: SmartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client.get(launched(client, server).headers["Location"])
    form = next(a for a in server.asked if a[1] == "/token")[2]
    written = "\n".join(
        f"{r.getMessage()} {vars(r)}" for r in caplog.records if r.name[:4] != "urll"
    )
    for secret in ("token-of-p4", "Weber", "SYN-004", form["code_verifier"], STUDY_UID or "-"):
        assert secret not in written


def test_launch_without_a_study_offers_the_choice_and_shows_no_other(
    client: FlaskClient, server: SmartServer, engine: FakeLaunchEngine
) -> None:
    older = a_study(study_instance_uid="1.2.3", accession_number="OLD", imaging_study_id="s1")
    context = a_context(studies=(a_study(), older))
    engine.analysis = a_launch_analysis(context=context)
    del server.token_members["appContext"]
    address = launched(client, server).headers["Location"]
    page = client.get(address)
    assert "Which study?" in page.text
    assert "/app/picture/" not in page.text
    assert (STUDY_UID or "-") not in page.text
    key = engine.keys.study_key("1.2.3")[:16]
    assert f"study={key}" in page.text
    client.get(f"{address}&study={key}")
    hint = engine.analysed[-1][1]
    assert hint is not None
    assert hint.study_instance_uid == "1.2.3"
    assert client.get(f"{address}&study=ffffffffffffffff").status_code == 404


def test_fhir_context_names_the_study_when_app_context_was_dropped(
    client: FlaskClient, server: SmartServer, engine: FakeLaunchEngine
) -> None:
    del server.token_members["appContext"]
    server.token_members["fhirContext"] = [{"reference": "ImagingStudy/s4"}]
    client.get(launched(client, server).headers["Location"])
    hint = engine.analysed[-1][1]
    assert hint is not None
    assert hint.imaging_study_id == "s4"
