"""What a hook call must look like, member by member."""

from typing import Any

import pytest

from cds.domain.errors import CdsError, Reason
from cds.hooks.request import HookRequest
from tests.fakes.machine_door import ACCESS_TOKEN, a_hook_body


def read(**over: Any) -> HookRequest:
    return HookRequest.from_json(a_hook_body(**over), hook="patient-view")


def refusal(body: Any) -> CdsError:
    with pytest.raises(CdsError) as caught:
        HookRequest.from_json(body, hook="patient-view")
    return caught.value


def test_request_when_complete_is_read_whole() -> None:
    request = read(
        hookInstance="D1577C69-DFBE-44AD-BA6D-3E05E953B2EA",
        context={"userId": "PractitionerRole/a.1", "patientId": "p-4", "encounterId": "e1"},
        extension={"com.example.x": {"a": 1}},
    )
    assert request.hook_instance == "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
    assert (request.user_ref, request.user_type) == ("PractitionerRole/a.1", "PractitionerRole")
    assert (request.patient_id, request.encounter_id) == ("p-4", "e1")
    assert request.extension == {"com.example.x": {"a": 1}}
    assert request.fhir_authorization is not None
    assert request.fhir_authorization.expires_in_s == 300


def test_request_when_printed_shows_no_patient_and_no_token() -> None:
    request = read()
    shown = repr(request) + repr(request.fhir_authorization) + str(request.fhir_authorization)
    assert ACCESS_TOKEN not in shown
    assert "p4" not in shown


def test_request_when_it_has_unknown_members_is_accepted() -> None:
    assert read(vendorMember={"x": None}).prefetch is not None


@pytest.mark.parametrize("absent", ["fhirServer", "fhirAuthorization", "prefetch", "extension"])
def test_request_when_an_optional_member_is_null_reads_it_as_absent(absent: str) -> None:
    body = a_hook_body(fhirAuthorization=None)
    if absent != "fhirServer":
        body[absent] = None
    request = HookRequest.from_json(body, hook="patient-view")
    assert request.fhir_authorization is None


def test_prefetch_when_a_value_is_null_keeps_the_key() -> None:
    request = read(prefetch={"conditions": None})
    assert request.prefetch == {"conditions": None}


AUTHORIZATION = a_hook_body()["fhirAuthorization"]


@pytest.mark.parametrize(
    ("over", "named"),
    [
        pytest.param({"hook": "order-sign"}, "patient-view", id="other-hook"),
        pytest.param({"hook": ""}, "hook ", id="blank-hook"),
        pytest.param({"hookInstance": "abc"}, "hookInstance", id="no-uuid"),
        pytest.param({"context": []}, "context", id="context-no-object"),
        pytest.param({"context": {"patientId": "p4"}}, "userId", id="no-user"),
        pytest.param(
            {"context": {"userId": "dr-1", "patientId": "p4"}}, "context.userId", id="user-bare"
        ),
        pytest.param({"context": {"userId": "Practitioner/1"}}, "patientId", id="no-patient"),
        pytest.param(
            {"context": {"userId": "Practitioner/1", "patientId": "Patient/p4"}},
            "context.patientId",
            id="patient-as-reference",
        ),
        pytest.param(
            {"context": {"userId": "Practitioner/1", "patientId": "p4", "encounterId": "E/1"}},
            "context.encounterId",
            id="encounter-as-reference",
        ),
        pytest.param({"prefetch": {"patient": "x"}}, "prefetch", id="prefetch-text"),
        pytest.param({"prefetch": []}, "prefetch", id="prefetch-array"),
        pytest.param({"fhirAuthorization": "x"}, "fhirAuthorization", id="authorization-text"),
        pytest.param(
            {"fhirAuthorization": {**AUTHORIZATION, "token_type": "mac"}}, "token_type", id="type"
        ),
        pytest.param(
            {"fhirAuthorization": {**AUTHORIZATION, "expires_in": "300"}}, "expires_in", id="text"
        ),
        pytest.param(
            {"fhirAuthorization": {**AUTHORIZATION, "expires_in": True}}, "expires_in", id="bool"
        ),
        pytest.param(
            {"fhirAuthorization": {**AUTHORIZATION, "patient": "p5"}}, "patient", id="patient"
        ),
    ],
)
def test_request_when_a_member_is_wrong_is_refused_by_name(
    over: dict[str, Any], named: str
) -> None:
    error = refusal(a_hook_body(**over))
    assert error.reason is Reason.INVALID_REQUEST
    assert named in error.sentence


@pytest.mark.requirement("HOOKS-REQUEST-FIELDS")
@pytest.mark.parametrize("member", ["hook", "hookInstance", "context"])
def test_request_when_a_required_member_is_missing_is_refused(member: str) -> None:
    assert member in refusal(a_hook_body(**{member: None})).sentence


@pytest.mark.requirement("HOOKS-FHIR-SERVER-WITH-AUTHORIZATION")
def test_request_when_authorization_comes_without_a_server_is_refused() -> None:
    assert "fhirServer" in refusal(a_hook_body(fhirServer=None)).sentence


@pytest.mark.parametrize("member", ["access_token", "token_type", "scope", "subject"])
def test_authorization_when_a_required_member_is_missing_is_refused(member: str) -> None:
    given = {name: value for name, value in AUTHORIZATION.items() if name != member}
    assert member in refusal(a_hook_body(fhirAuthorization=given)).sentence


@pytest.mark.parametrize("body", [None, [], "x", 1], ids=["null", "array", "text", "number"])
def test_request_when_it_is_no_object_is_refused(body: Any) -> None:
    assert refusal(body).reason is Reason.INVALID_REQUEST
