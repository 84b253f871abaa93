"""A picture that the user brings along: compared once, bound to nobody, kept nowhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from urllib3.filepost import encode_multipart_formdata
from werkzeug.test import TestResponse

from cds.domain import wording
from cds.domain.errors import CdsError, Reason
from cds.domain.report import AnswerState
from cds.web.access import policy_of
from smart_app.application import create_app
from smart_app.pages import upload_form
from tests.builders.case_report import a_case_report
from tests.builders.dicom import a_dicom_instance, a_ramp
from tests.fakes.clinician_door import Door, text_of
from tests.fakes.launch_engine import FakeLaunchEngine, grey_picture

ADDRESS = "/app/upload?w=window1"
UNBOUND = "Not bound to a patient: this picture was uploaded by you."
CASE_PICTURE = "/app/picture/case/case0031/picture0031?w=window1"


@pytest.fixture(scope="module")
def app() -> Flask:
    """One application for the module: compiling its templates takes longer than all the tests."""
    return create_app(FakeLaunchEngine("https://ehr.example.invalid/fhir"))


@pytest.fixture
def door(app: Flask) -> Door:
    return Door(app)


def token_of(door: Door, window: str = "window1") -> str:
    page = door.client.get(f"/app/upload?w={window}").text
    return str(re.findall(r'name="token" value="([0-9a-f]{64})"', page)[0])


def a_form(content: bytes, name: str = "film.png", **fields: str) -> tuple[bytes, str]:
    """Return a form's body and media type, as a browser sends them."""
    return encode_multipart_formdata({**fields, "picture": (name, content)})


def send(door: Door, content: bytes, name: str = "film.png", **fields: str) -> TestResponse:
    body, kind = a_form(content, name, **{"token": token_of(door), **fields})
    return door.client.post(ADDRESS, data=body, content_type=kind)


def test_study_page_links_to_the_form_of_this_window(door: Door) -> None:
    assert 'href="/app/upload?w=window1"' in door.page(a_case_report())


def test_form_when_opened_works_without_script_and_names_no_patient(door: Door) -> None:
    answer = door.client.get(ADDRESS)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert 'enctype="multipart/form-data"' in answer.text
    assert "<script" not in answer.text
    assert "Weber" not in answer.text
    assert UNBOUND in text_of(answer.text)


def test_upload_when_compared_shows_header_stage_findings_and_cases(door: Door) -> None:
    answer = send(door, grey_picture(3))
    assert answer.status_code == 200
    text = text_of(answer.text)
    report = door.engine.upload_report
    for sentence in (
        wording.header("the synthetic library"),
        "Sandbox: synthetic or test patients only",
        UNBOUND,
        *(statement.sentence for statement in report.findings),
    ):
        assert sentence in text
    assert answer.text.count("/app/picture/case/") == 31
    for of_the_chart in ("Weber", "SYN-004-771", "1951-03-14", "This patient", "data:", "<script"):
        assert of_the_chart not in answer.text


def test_upload_when_nothing_is_comparable_says_so_and_shows_no_case(door: Door) -> None:
    sentence = wording.abstention_sentence(0.41, 0.58)
    door.engine.upload_report = a_case_report(
        state=AnswerState.NOTHING_COMPARABLE, abstention=sentence, neighbors=(), findings=()
    )
    answer = send(door, grey_picture(3))
    assert sentence in text_of(answer.text)
    assert "<img" not in answer.text


def test_fields_of_the_form_reach_the_engine(door: Door) -> None:
    send(door, grey_picture(3), view="AP", age="67", sex="female")
    upload, registration = door.engine.uploads[-1]
    assert (upload.view_position, upload.age_years, upload.sex) == ("AP", 67, "female")
    assert upload.content == grey_picture(3)
    assert registration.ehr_id == "sandbox"


def test_case_pictures_when_an_upload_showed_them_are_served_to_this_window(door: Door) -> None:
    assert door.client.get(CASE_PICTURE).status_code == 404
    send(door, grey_picture(3))
    assert door.client.get(CASE_PICTURE).status_code == 200
    assert door.engine.viewed == [("case0031", "picture0031", "sandbox", "Practitioner/okafor")]
    other = "/app/picture/case/case0099/picture0099?w=window1"
    assert door.client.get(other).status_code == 404


def test_upload_when_answered_leaves_nothing_behind(door: Door) -> None:
    send(door, grey_picture(3))
    report_id = door.engine.upload_report.report_id
    assert door.engine.results.by_id("sandbox", report_id) is None
    for address in (f"/app/picture/query/{report_id}", f"/app/report/{report_id}/fhir"):
        assert door.client.get(f"{address}?w=window1").status_code == 404


def test_upload_when_large_is_read_into_memory_only(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError("a file on disk")

    content = grey_picture(3) + b"a\r\n" * 1_700_000  # over the limit of every other address
    body, kind = a_form(content, token=token_of(door))
    monkeypatch.setattr("tempfile.SpooledTemporaryFile", refuse)
    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", refuse)
    assert door.client.post(ADDRESS, data=body, content_type=kind).status_code == 200
    assert len(door.engine.uploads[-1][0].content) == len(content)


def test_audit_when_compared_says_who_and_outcome_and_nothing_else(door: Door) -> None:
    content = a_dicom_instance(a_ramp(96, 96), PatientID="SYN-999", PatientName="Rossi^Ada")
    send(door, content, "Rossi_Ada.dcm")
    send(door, b"%PDF-1.4", "film.dcm")
    told = [e for e in door.engine.audit.events if e.action == "upload.compared"]
    assert [(e.who, e.outcome) for e in told] == [
        ("Practitioner/okafor", "success"),
        ("Practitioner/okafor", "image-unreadable"),
    ]
    assert not re.search("rossi|999|film", repr(door.engine.audit.events), re.IGNORECASE)


def child_dicom() -> bytes:
    born = datetime.now(UTC) - timedelta(days=365 * 7)
    return a_dicom_instance(a_ramp(96, 96), PatientBirthDate=f"{born:%Y%m%d}")


@pytest.mark.parametrize(
    ("content", "fields", "status", "sentence"),
    [
        (b"", {}, 400, "No file was chosen"),
        (b"just text", {}, 422, "DICOM"),
        (b"%PDF-1.4 \n1 0 obj", {}, 422, "DICOM"),
        (grey_picture(3)[:60], {}, 422, "damaged or incomplete"),
        (a_dicom_instance(a_ramp(96, 96))[:-400], {}, 422, "damaged or incomplete"),
        (grey_picture(3, side=32), {}, 422, "too small to compare"),
        (grey_picture(3), {"age": "9"}, 422, "Patients under 18"),
        (child_dicom(), {"age": "40"}, 422, "Patients under 18"),
        (grey_picture(3), {"age": "-1"}, 400, "whole number"),
        (grey_picture(3), {"age": "121"}, 400, "whole number"),
        (grey_picture(3), {"view": "LL"}, 400, "no such view"),
        (grey_picture(3), {"sex": "<b>"}, 400, "no such sex"),
    ],
    ids=[
        *("no-file", "text", "pdf-named-dcm", "truncated-png", "truncated-dicom", "thumbnail"),
        *("child", "child-in-the-file", "negative-age", "age-121", "view", "sex"),
    ],
)
def test_upload_when_refused_is_a_sentence_above_the_form(
    door: Door, content: bytes, fields: dict[str, str], status: int, sentence: str
) -> None:
    answer = send(door, content, "film.dcm", **fields)
    assert answer.status_code == status
    text = text_of(answer.text)
    assert sentence in text
    assert "Nothing was compared." in text
    assert wording.header("the synthetic library") in text
    assert "<img" not in answer.text
    assert "<b>" not in answer.text
    assert token_of(door) in answer.text  # the form can be sent again


def test_upload_when_larger_than_the_limit_is_413_in_a_sentence(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_form, "MAX_BODY_BYTES", 100_000)
    answer = send(door, bytes(200_000))
    assert answer.status_code == 413
    assert "The file is larger than 20 MB." in text_of(answer.text)
    assert door.engine.uploads == []


def test_other_addresses_when_a_body_is_large_keep_their_limit(door: Door) -> None:
    body, kind = a_form(bytes(5 * 1024 * 1024))
    answer = door.client.post("/app/sign-out", data=body, content_type=kind)
    assert answer.status_code == 413
    assert door.client.get(ADDRESS).status_code == 200  # the session was not ended


@pytest.mark.parametrize("token", ["", "0" * 64, "\u00e9"])
def test_upload_when_the_form_is_not_ours_is_refused(door: Door, token: str) -> None:
    answer = send(door, grey_picture(3), token=token)
    assert answer.status_code == 403
    assert "was not sent by a page of this window" in text_of(answer.text)
    assert door.engine.uploads == []


def test_upload_when_the_token_is_another_windows_is_refused(door: Door) -> None:
    door.open("window2", None)
    answer = send(door, grey_picture(3), token=token_of(door, "window2"))
    assert answer.status_code == 403


def test_upload_when_there_is_no_session_is_refused_unread(app: Flask) -> None:
    stranger = app.test_client()
    assert stranger.get(ADDRESS).status_code == 401
    body, kind = a_form(bytes(5 * 1024 * 1024))
    assert stranger.post(ADDRESS, data=body, content_type=kind).status_code == 401


@pytest.mark.parametrize("reason", [Reason.INDEX_UNAVAILABLE, Reason.MODEL_UNAVAILABLE])
def test_upload_when_the_engine_fails_says_why(door: Door, reason: Reason) -> None:
    door.engine.failure = CdsError(reason, "The case library is not ready.")
    answer = send(door, grey_picture(3))
    assert answer.status_code == 503
    assert "The case library is not ready." in text_of(answer.text)


def test_endpoints_of_the_app_when_listed_each_declare_a_policy(app: Flask) -> None:
    found = {rule.endpoint: policy_of(app, rule.endpoint) for rule in app.url_map.iter_rules()}
    assert None not in found.values()
    for endpoint in ("upload.form", "upload.compare"):
        policy = found[endpoint]
        assert policy is not None
        assert policy.name == "clinician-session"
