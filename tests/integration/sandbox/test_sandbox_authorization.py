"""The sandbox's authorization server: what it grants, and all that it must refuse."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.integration.sandbox.conftest import APP_URL, BASE_URL, MINIMAL_SCOPE

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Browser


@pytest.mark.requirement("D1")
def test_smart_configuration_when_read_states_what_smart_requires(browser: Browser) -> None:
    answer = browser.client.get("/fhir/.well-known/smart-configuration")
    document = answer.get_json()
    assert answer.content_type == "application/json"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["issuer"] == f"{BASE_URL}/fhir"
    assert "launch-ehr" in document["capabilities"]
    assert document["jwks_uri"] == f"{BASE_URL}/auth/jwks"


@pytest.mark.requirement("D2")
def test_launch_when_valid_gives_token_with_launch_context(browser: Browser) -> None:
    browser.sign_in()
    answer = browser.authorize(browser.open_launch(appContext='{"study": "study-anne"}'))
    assert answer["state"] == ["state-of-122-bits"]
    assert answer["iss"] == [f"{BASE_URL}/fhir"]
    response = browser.exchange(answer["code"][0])
    token = response.get_json()
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"
    assert token["token_type"] == "Bearer"
    assert token["patient"] == "anne"
    assert token["encounter"] == "visit-anne"
    assert token["need_patient_banner"] is False
    assert token["appContext"] == '{"study": "study-anne"}'
    assert token["fhirContext"] == [{"reference": "ImagingStudy/study-anne"}]
    assert set(token["scope"].split()) == set(MINIMAL_SCOPE.split())
    assert "refresh_token" not in token


@pytest.mark.requirement("D4")
def test_id_token_when_checked_with_the_published_keys_names_user_and_nonce(
    browser: Browser,
) -> None:
    token = browser.token()
    keys = KeySet.import_key_set(browser.client.get("/auth/jwks").get_json())
    decoded = jwt.decode(token["id_token"], keys, algorithms=["RS256"])
    assert decoded.claims["iss"] == f"{BASE_URL}/fhir"
    assert decoded.claims["aud"] == "precedent-app"
    assert decoded.claims["nonce"] == "n-0S6"
    assert decoded.claims["fhirUser"] == f"{BASE_URL}/fhir/Practitioner/u-radiologist"
    assert "d" not in browser.client.get("/auth/jwks").get_json()["keys"][0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code_challenge": None, "code_challenge_method": None}, "PKCE"),
        ({"code_challenge_method": "plain"}, "PKCE"),
        ({"code_challenge_method": None}, "PKCE"),
        ({"state": None}, "state"),
        ({"aud": f"{BASE_URL}/fhir/"}, "aud"),
        ({"aud": None}, "aud"),
        ({"launch": "made-up"}, "launch"),
        ({"launch": None}, "launch"),
        ({"nonce": None}, "nonce"),
    ],
    ids=[
        "no-pkce",
        "plain-pkce",
        "method-left-out",
        "no-state",
        "aud-with-slash",
        "no-aud",
        "foreign-launch",
        "no-launch",
        "no-nonce",
    ],
)
def test_authorize_when_a_parameter_is_wrong_sends_invalid_request(
    browser: Browser, changes: dict[str, str | None], words: str
) -> None:
    browser.sign_in()
    answer = browser.authorize(browser.open_launch(), **changes)
    assert answer["error"] == ["invalid_request"]
    assert words in answer["error_description"][0]
    assert "code" not in answer


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": f"{APP_URL}/callback/"},
        {"redirect_uri": "http://localhost:8000/callback"},
        {"redirect_uri": None},
        {"client_id": "someone"},
    ],
    ids=["slash", "other-host", "absent", "unknown-client"],
)
def test_authorize_when_the_address_is_not_proven_shows_a_page_and_never_redirects(
    browser: Browser, changes: dict[str, str | None]
) -> None:
    browser.sign_in()
    query = browser.request(browser.open_launch(), **changes)
    answer = browser.client.get("/auth/authorize", query_string=query)
    assert answer.status_code == 400
    assert "was not accepted" in answer.text


def test_authorize_when_nobody_is_signed_in_shows_the_logins(browser: Browser) -> None:
    browser.sign_in()
    launch = browser.open_launch()
    browser.client.delete_cookie("ehr_session")
    answer = browser.client.get("/auth/authorize", query_string=browser.request(launch))
    assert answer.status_code == 200
    assert "dr.okafor" in answer.text
    assert "sandbox" in answer.text


def test_authorize_when_another_user_is_signed_in_refuses_the_launch(browser: Browser) -> None:
    browser.sign_in()
    launch = browser.open_launch()
    browser.client.delete_cookie("ehr_session")
    browser.sign_in("dr.lindqvist")
    assert browser.authorize(launch)["error"] == ["invalid_request"]


def test_authorize_when_signed_in_after_the_launch_asks_for_consent(browser: Browser) -> None:
    browser.sign_in()
    launch = browser.open_launch()
    browser.sign_in()
    query = browser.request(launch)
    page = browser.client.get("/auth/authorize", query_string=query)
    assert "Allow Precedent" in page.text
    form = {"launch": launch, "decision": "refuse", "next": "/auth/authorize"}
    browser.client.post("/auth/decision", data=form)
    assert browser.authorize(launch)["error"] == ["access_denied"]


def test_authorize_when_posted_leads_to_the_same_answer(browser: Browser) -> None:
    browser.sign_in()
    form = browser.request(browser.open_launch())
    answer = browser.client.post("/auth/authorize", data=form, follow_redirects=False)
    assert answer.status_code == 303
    assert "code=" in browser.client.get(answer.location).location


def test_launch_when_used_once_is_spent(browser: Browser) -> None:
    browser.sign_in()
    launch = browser.open_launch()
    browser.authorize(launch)
    assert browser.authorize(launch)["error"] == ["invalid_request"]


def test_code_when_replayed_is_refused_and_kills_the_first_token(browser: Browser) -> None:
    browser.sign_in()
    code = browser.authorize(browser.open_launch())["code"][0]
    token = browser.exchange(code).get_json()["access_token"]
    assert browser.get("/fhir/Patient/anne", token).status_code == 200
    replayed = browser.exchange(code)
    assert (replayed.status_code, replayed.get_json()["error"]) == (400, "invalid_grant")
    assert browser.get("/fhir/Patient/anne", token).status_code == 401


def test_code_when_older_than_a_minute_is_refused(browser: Browser) -> None:
    browser.sign_in()
    code = browser.authorize(browser.open_launch())["code"][0]
    browser.hospital.grants._codes[code].issued_at -= 61
    assert browser.exchange(code).get_json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 64}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"redirect_uri": f"{APP_URL}/other"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
    ids=["wrong-verifier", "no-verifier", "other-address", "grant-type"],
)
def test_token_request_when_wrong_gives_no_token(
    browser: Browser, changes: dict[str, str], error: str
) -> None:
    browser.sign_in()
    code = browser.authorize(browser.open_launch())["code"][0]
    answer = browser.exchange(code, **changes)
    assert (answer.status_code, answer.get_json()["error"]) == (400, error)


def test_token_request_when_the_secret_is_wrong_is_401(browser: Browser) -> None:
    browser.sign_in()
    code = browser.authorize(browser.open_launch())["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": browser.verifier}
    answer = browser.app_post("/auth/token", form, secret="wrong")
    assert (answer.status_code, answer.get_json()["error"]) == (401, "invalid_client")


def test_scope_when_too_much_is_asked_grants_only_what_is_allowed(browser: Browser) -> None:
    token = browser.token(scope="launch patient/Patient.read system/*.rs patient/Condition.cruds")
    assert token["scope"].split() == ["launch", "patient/Patient.read"]


@pytest.mark.requirement("D5")
def test_refresh_when_used_rotates_and_a_second_use_is_refused(browser: Browser) -> None:
    token = browser.token(scope=f"{MINIMAL_SCOPE} online_access")
    form = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
    renewed = browser.app_post("/auth/token", form).get_json()
    assert renewed["patient"] == "anne"
    assert renewed["refresh_token"] != token["refresh_token"]
    assert browser.get("/fhir/Patient/anne", renewed["access_token"]).status_code == 200
    assert browser.app_post("/auth/token", form).get_json()["error"] == "invalid_grant"


@pytest.mark.requirement("D6")
def test_introspection_when_active_states_scope_context_and_user(browser: Browser) -> None:
    token = browser.token()
    answer = browser.app_post("/auth/introspect", {"token": token["access_token"]}).get_json()
    assert answer["active"] is True
    assert answer["client_id"] == "precedent-app"
    assert set(answer["scope"].split()) == set(token["scope"].split())
    assert answer["patient"] == "anne"
    assert answer["exp"] > time.time()
    assert answer["sub"] == "dr.okafor"


@pytest.mark.requirement("D6")
@pytest.mark.parametrize("state", ["unknown", "revoked", "expired"])
def test_introspection_when_not_good_says_only_inactive(browser: Browser, state: str) -> None:
    text = browser.token()["access_token"]
    if state == "revoked":
        browser.app_post("/auth/revoke", {"token": text})
    elif state == "expired":
        browser.hospital.grants._tokens[text].issued_at -= 3601
    else:
        text = "unknown"
    answer = browser.app_post("/auth/introspect", {"token": text})
    assert answer.get_json() == {"active": False}


def test_introspection_when_the_caller_is_unknown_is_401(browser: Browser) -> None:
    token = browser.token()["access_token"]
    answer = browser.client.post("/auth/introspect", data={"token": token})
    assert answer.status_code == 401


def test_launch_when_the_address_is_not_registered_is_refused(browser: Browser) -> None:
    browser.sign_in()
    answer = browser.client.post("/ehr/patients/anne/launch", json={"url": "http://evil.invalid/x"})
    assert answer.status_code == 400


def test_secrets_when_printed_stay_hidden(browser: Browser) -> None:
    shown = repr(browser.hospital.secrets) + repr(browser.hospital.authorization_parts())
    assert browser.hospital.secrets.client_secret not in shown
    assert replace(browser.hospital.secrets, client_secret="x").client_secret == "x"
