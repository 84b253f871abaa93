"""Deny by default, and what surrounds each answer: headers, CORS, health, errors, description."""

import re
from typing import Any

import pytest
from flask import Flask

from cds.domain.registration import EhrRegistration
from cds.web.access import AccessPolicy, declare, policy_of, public
from cds.web.cors import registered_origins
from cds.web.headers import page_content_security_policy
from cds.web.openapi import openapi_document
from tests.builders.answers import EHR_ID, a_registration
from tests.fakes.engine import FakeReadinessCheck
from tests.fakes.machine_door import BASE, SIMILAR_CASES, MachineDoor, a_hook_body

CHART = "https://chart.example.invalid"
POLICIES = {
    "backend_key_set.key_set": "public",
    "fhir.capabilities": "public",
    "fhir.read_device": "fhir-token",
    "fhir.read_document_reference": "fhir-token",
    "fhir.read_diagnostic_report": "fhir-token",
    "fhir.read_observation": "fhir-token",
    "fhir.search_diagnostic_reports": "fhir-token",
    "fhir.search_diagnostic_reports_by_post": "fhir-token",
    "fhir.smart_configuration": "public",
    "health.jobs": "public",
    "health.live": "public",
    "health.ready": "public",
    "hooks.call_cds_service": "cds-client",
    "hooks.discovery": "public",
    "openapi.describe": "public",
    "subscriptions.notify": "subscription",
    "subscriptions.notify_with_payload": "subscription",
}


@pytest.fixture
def door() -> MachineDoor:
    return MachineDoor()


def own_app() -> Flask:
    """An application that a test may add addresses to (Flask freezes one after its first call)."""
    return MachineDoor().app


def test_endpoints_when_listed_each_have_exactly_the_declared_policy(door: MachineDoor) -> None:
    found = {}
    for rule in door.app.url_map.iter_rules():
        policy = policy_of(door.app, rule.endpoint)
        assert policy is not None, rule.rule
        found[rule.endpoint.replace("fhir_alias.", "fhir.")] = policy.name
    assert found == POLICIES


def test_endpoint_when_it_declares_no_policy_answers_nobody() -> None:
    app = own_app()
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    response = app.test_client().get("/forgotten")
    assert response.status_code == 403
    assert "secret" not in response.text


def test_endpoint_when_its_policy_is_declared_from_outside_is_open() -> None:
    app = own_app()
    app.add_url_rule("/assets", "assets", lambda: "open")
    declare(app, "assets", public)
    assert app.test_client().get("/assets").text == "open"


def test_policy_when_another_room_brings_its_own_is_enforced() -> None:
    asked: list[dict[str, Any]] = []
    policy = AccessPolicy("clinician-session", asked.append)
    app = own_app()
    app.add_url_rule("/page/<name>", "page", policy(lambda name: name))
    assert app.test_client().get("/page/x").text == "x"
    assert asked == [{"name": "x"}]


def test_options_when_there_is_no_policy_never_reaches_the_view() -> None:
    app = own_app()
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret", methods=["GET", "OPTIONS"])
    assert "secret" not in app.test_client().options("/forgotten").text


# --- headers and CORS --------------------------------------------------------------------------


@pytest.mark.parametrize("path", [BASE, "/health/live", "/nowhere", f"/t/{EHR_ID}/fhir/metadata"])
def test_answer_when_sent_has_the_security_headers(door: MachineDoor, path: str) -> None:
    headers = door.http.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Strict-Transport-Security"].startswith("max-age=")


def test_answer_when_a_view_sets_a_header_keeps_it() -> None:
    app = own_app()
    policy = page_content_security_policy((CHART,))
    app.add_url_rule("/page", "page", public(lambda: ("", {"Content-Security-Policy": policy})))
    assert app.test_client().get("/page").headers["Content-Security-Policy"] == policy


def test_page_policy_when_nobody_may_frame_says_none() -> None:
    assert page_content_security_policy(()).endswith("frame-ancestors 'none'")


def preflight(door: MachineDoor, path: str, origin: str) -> Any:
    return door.http.options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )


@pytest.mark.requirement("HOOKS-CORS")
@pytest.mark.parametrize("origin", [CHART, "https://ehr.example.invalid"])
def test_preflight_when_the_origin_is_registered_is_answered_without_a_token(
    door: MachineDoor, origin: str
) -> None:
    response = preflight(door, SIMILAR_CASES, origin)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == origin
    allowed = response.headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in allowed
    assert "content-type" in allowed
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example.invalid", "null", "https://chart.example.invalid.evil.invalid"]
)
def test_preflight_when_the_origin_is_not_registered_allows_nothing(
    door: MachineDoor, origin: str
) -> None:
    response = preflight(door, SIMILAR_CASES, origin)
    assert "Access-Control-Allow-Origin" not in response.headers


def test_call_when_sent_by_a_registered_page_may_be_read_by_it(door: MachineDoor) -> None:
    response = door.call(headers={"Origin": CHART})
    assert response.headers["Access-Control-Allow-Origin"] == CHART
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("path", [BASE, f"/t/{EHR_ID}/fhir/metadata"])
def test_metadata_when_asked_by_any_page_may_be_read(door: MachineDoor, path: str) -> None:
    response = door.http.get(path, headers={"Origin": "https://anyone.example.invalid"})
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_health_when_asked_by_a_page_is_not_shared(door: MachineDoor) -> None:
    response = door.http.get("/health/live", headers={"Origin": CHART})
    assert "Access-Control-Allow-Origin" not in response.headers


def test_origins_when_the_server_has_a_port_keep_it() -> None:
    registration = EhrRegistration("a", "A", "http://127.0.0.1:8100/fhir", "c")
    assert registered_origins(registration) == {"http://127.0.0.1:8100"}


# --- health, errors, description ---------------------------------------------------------------


def test_ready_when_every_check_passes_is_200(door: MachineDoor) -> None:
    response = door.http.get("/health/ready")
    assert response.status_code == 200
    assert response.get_json() == {
        "status": "ready",
        "checks": [{"name": "database", "ok": True, "sentence": "It answers."}],
    }


@pytest.mark.parametrize(
    "checks",
    [(), (FakeReadinessCheck("index", False, "There is no index; run `precedent index build`."),)],
    ids=["none", "failing"],
)
def test_ready_when_a_check_fails_is_503_and_live_stays_200(
    door: MachineDoor, checks: tuple[FakeReadinessCheck, ...]
) -> None:
    door.engine.checks = checks
    response = door.http.get("/health/ready")
    assert (response.status_code, response.get_json()["status"]) == (503, "not-ready")
    assert door.http.get("/health/live").status_code == 200


def test_error_when_unexpected_is_500_with_an_id_and_no_text(door: MachineDoor) -> None:
    def fail(_asked: object, _deadline: object) -> Any:
        raise RuntimeError("SECRET-TEXT of Secretname")

    door.engine.analyse = fail
    response = door.call()
    assert response.status_code == 500
    text = response.get_json()["issue"][0]["details"]["text"]
    assert re.search(r"id: [0-9a-f-]{36}\.", text)
    assert "SECRET" not in response.text
    assert "Traceback" not in response.text


def test_error_when_unexpected_may_be_tried_again(door: MachineDoor) -> None:
    analyse = door.engine.analyse
    body = a_hook_body()

    def fail(_asked: object, _deadline: object) -> Any:
        raise RuntimeError

    door.engine.analyse = fail
    door.call(body)
    door.engine.analyse = analyse
    assert len(door.cards(body)) == 1


def test_description_when_compared_with_the_addresses_names_each_with_its_methods(
    door: MachineDoor,
) -> None:
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in door.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {
        (path, method)
        for path, item in openapi_document()["paths"].items()
        for method in item
        if method in {"get", "post", "put", "patch", "delete"}
    }
    assert described == served


def test_description_when_compared_with_the_policies_asks_for_the_same(door: MachineDoor) -> None:
    scheme_of: dict[str, list[dict[str, list[str]]]] = {
        "public": [],
        "cds-client": [{"cdsClientJwt": []}],
        "fhir-token": [{"fhirAccessToken": []}],
        "subscription": [{"subscriptionSecret": []}],
    }
    for rule in door.app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        policy = policy_of(door.app, rule.endpoint)
        methods = {m.lower() for m in rule.methods or ()} - {"head", "options"}
        method = methods.pop()
        described = openapi_document()["paths"][path][method]["security"]
        assert policy is not None
        assert described == scheme_of[policy.name], path


def test_description_when_its_references_are_followed_finds_each() -> None:
    document = openapi_document()
    names = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert names <= set(document["components"]["schemas"])
    ids = [
        op["operationId"]
        for item in document["paths"].values()
        for op in item.values()
        if isinstance(op, dict)
    ]
    assert len(ids) == len(set(ids))


def test_description_when_served_names_this_installation(door: MachineDoor) -> None:
    document = door.http.get("/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "https://cds.example.invalid"}]


def test_public_url_when_it_ends_with_a_slash_makes_no_double_slash() -> None:
    door = MachineDoor(a_registration())
    object.__setattr__(door.engine.settings, "public_url", "https://cds.example.invalid/")
    assert door.cards()[0]["links"][0]["url"] == "https://cds.example.invalid/launch"
