"""The study page as a clinician gets it: every sentence, nothing else's, nothing unescaped."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from flask import Flask

from cds.domain import wording
from cds.domain.coding import Coding
from cds.domain.errors import CdsError, Reason
from cds.domain.launch import LaunchAnalysis
from cds.domain.report import AnswerState, CaseReport, Priority
from cds.domain.source_attributes import SOURCE_ATTRIBUTE_KEYS, Statement
from cds.domain.study import ReportState
from smart_app.application import create_app
from tests.builders.case_report import (
    REPORT_ID,
    a_case_report,
    a_context,
    a_finding,
    a_neighbor,
    a_study,
)
from tests.fakes.clinician_door import Door, text_of
from tests.fakes.launch_engine import FakeLaunchEngine

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"
EMPTY = {"neighbors": (), "findings": (), "outcomes": (), "states_at_film": ()}


@pytest.fixture(scope="module")
def app() -> Flask:
    """One application for the module: compiling its templates takes longer than all the tests."""
    return create_app(FakeLaunchEngine("https://ehr.example.invalid/fhir"))


@pytest.fixture
def door(app: Flask) -> Door:
    return Door(app)


def test_page_of_a_comparison_holds_every_sentence_verbatim(door: Door) -> None:
    report = a_case_report(composition_guard=wording.guard_sentence("COVID-19", 140, 155))
    text = text_of(door.page(report))
    sentences = [
        wording.header("the synthetic library"),
        report.priority_sentence,
        report.composition_guard or "",
        *(statement.sentence for statement in report.findings),
        *(statement.sentence for statement in report.outcomes),
        *report.states_at_film,
        *wording.missing_sentences(report.inputs_missing),
        "Total protein 68 g/dL (not plausible; unit?)",
    ]
    for sentence in sentences:
        assert sentence in text


def test_page_names_patient_study_and_versions(door: Door) -> None:
    text = text_of(door.page(a_case_report()))
    for shown in (
        "Weber, Ingrid",
        "1951-03-14",
        "SYN-004-771",
        "12 Nov 2026 06:41 CET",  # the EHR's own zone
        "SYN-2026-0004",
        "chest-mobilenet-1",
        "9f31c09f31c0",
        "g-000003",
        "Sandbox: synthetic or test patients only",
    ):
        assert shown in text
    assert "OLD-1" not in text  # another issuer's number is not this EHR's


@pytest.mark.parametrize(
    "report",
    [
        a_case_report(),
        a_case_report(priority=Priority.NONE, priority_sentence=wording.NO_PRIORITY),
        a_case_report(
            state=AnswerState.NOTHING_COMPARABLE,
            abstention=wording.abstention_sentence(0.41, 0.58),
            **EMPTY,
        ),
    ],
    ids=["compared", "no-priority", "nothing-comparable"],
)
def test_page_says_nothing_that_reassures_or_diagnoses(door: Door, report: CaseReport) -> None:
    text = text_of(door.page(report)).lower()
    allowed = (wording.NO_PRIORITY, wording.READ_IN_ORDER)  # CLINICAL 1.6, word for word
    for sentence in allowed:
        text = text.replace(sentence.lower(), "")
    for word in ("diagnosis is", "safe", "normal", "no danger", "healthy", "rule out", "excluded"):
        assert word not in text


def test_about_page_says_what_the_software_is_not(door: Door) -> None:
    text = text_of(door.client.get("/about").text)
    assert "does not read pictures, does not name a diagnosis" in text
    assert "research use only" in text
    assert not re.search(r"\b(safe|normal|diagnosis is)\b", text)


def test_model_card_is_one_click_from_the_about_page(door: Door) -> None:
    assert 'href="/model-card"' in door.client.get("/about").text
    assert "# Toy encoder &lt;b&gt;" in door.client.get("/model-card").text


@pytest.mark.requirement("DSI-SOURCE-ATTRIBUTES")
def test_model_card_page_and_data_hold_all_attributes_and_agree(door: Door) -> None:
    text = text_of(door.client.get("/model-card").text)
    served = door.client.get("/model-card.json").get_json()
    assert [one["key"] for one in served["attributes"]] == list(SOURCE_ATTRIBUTE_KEYS)
    for one in served["attributes"]:
        assert one["attribute"] in text
        assert one["group"] in text
    assert text.count("not available: ") == 31 - served["n_available"] == 31


def test_model_card_page_escapes_what_the_card_says(app: Flask, door: Door) -> None:
    statements = dict.fromkeys(SOURCE_ATTRIBUTE_KEYS, Statement(value=HOSTILE))
    engine = app.extensions["precedent.engine"]
    kept, engine.card = engine.card, replace(engine.card, statements=statements)
    try:
        page = door.client.get("/model-card").text
    finally:
        engine.card = kept
    assert "<script>alert" not in page
    assert unescape(page).count(HOSTILE) == 31


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param("text/html,application/xhtml+xml,*/*;q=0.8", "text/html", id="browser"),
        pytest.param("application/json", "application/json", id="json"),
        pytest.param("*/*", "text/html", id="anything"),
        pytest.param("", "text/html", id="nothing-said"),
        pytest.param("image/png", "text/html", id="neither"),
    ],
)
def test_model_card_when_asked_in_a_form_answers_in_it(
    door: Door, accept: str, content_type: str
) -> None:
    response = door.client.get("/model-card", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(content_type)
    assert "Accept" in response.headers["Vary"]


def test_page_escapes_what_comes_from_outside(door: Door) -> None:
    study = a_study(description=HOSTILE, accession_number="A1")
    context = a_context(
        demographics=replace(a_context().demographics, display_name=HOSTILE),
        studies=(study,),
        missing=(HOSTILE,),
    )
    finding = replace(a_finding(Coding(HOSTILE), 12, 31, (45, 204)), sentence=HOSTILE)
    neighbor = a_neighbor(1, collection=HOSTILE, outcomes=(HOSTILE,), view=HOSTILE)
    report = a_case_report(
        study=study,
        findings=(finding,),
        neighbors=(neighbor,),
        abstention=HOSTILE,
        inputs_used=(HOSTILE,),
        library_name=HOSTILE,
    )
    page = door.page(report, context=context)
    assert "<script" not in page
    assert "49" not in re.findall(r"alert\(1\)[^<]{0,60}", page)[0]
    assert unescape(page).count(HOSTILE) >= 9


def test_page_runs_no_script_and_has_no_inline_style(door: Door) -> None:
    answer = door.client.get("/app/study?w=window1")
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors http://localhost:8100" in policy
    assert answer.headers["Cache-Control"] == "private, no-store"
    for forbidden in ("style=", "onclick", "onload", "javascript:", "http://", "https://"):
        assert forbidden not in answer.text


def test_cards_show_ranks_proofs_and_the_counter_example(door: Door) -> None:
    page = door.page(a_case_report())
    text = text_of(page)
    assert "Counter-example: the most similar case with another diagnosis" in text
    assert "proved by culture or NAAT" in text
    assert "90 or older" in text
    assert "25 more similar cases" in text
    assert page.count("/app/picture/case/") == 31


def test_counter_example_far_down_the_ranking_is_not_folded(door: Door) -> None:
    neighbors = tuple(a_neighbor(rank, is_counter_example=rank == 20) for rank in range(1, 32))
    page = door.page(a_case_report(neighbors=neighbors))
    assert page.index("Counter-example") < page.index("more similar cases")


def test_few_matches_are_named_too_few_to_count(door: Door) -> None:
    neighbors = tuple(a_neighbor(rank) for rank in range(1, 4))
    text = text_of(door.page(a_case_report(**{**EMPTY, "neighbors": neighbors})))
    assert "3 patients: too few to count." in text


def test_identity_mismatch_shows_the_reason_what_to_do_and_no_picture(door: Door) -> None:
    report = a_case_report(
        state=AnswerState.NOT_ASSESSED,
        not_assessed_reason=Reason.IDENTITY_MISMATCH.value,
        abstention="The picture's patient ID does not match this chart.",
        priority=Priority.NOT_ASSESSED,
        priority_sentence="Not assessed: identity. Place in the list unchanged.",
        **EMPTY,
    )
    page = door.page(report)
    assert "<img" not in page
    assert "does not match this chart." in text_of(page)
    assert "Tell the PACS team." in text_of(page)
    refused = door.client.get(f"/app/picture/query/{REPORT_ID}?w=window1")
    assert refused.status_code == 404


@pytest.mark.parametrize(
    ("reason", "is_shown"),
    [
        (Reason.IMAGE_UNSUPPORTED, False),
        (Reason.IMAGE_UNREADABLE, False),
        (Reason.UPSTREAM_FAILED, False),
        (Reason.INDEX_UNAVAILABLE, True),
    ],
)
def test_picture_is_shown_only_when_it_was_read_and_bound(
    door: Door, reason: Reason, is_shown: bool
) -> None:
    report = a_case_report(
        state=AnswerState.NOT_ASSESSED,
        not_assessed_reason=reason.value,
        abstention="It could not be assessed.",
        priority=Priority.NOT_ASSESSED,
        **EMPTY,
    )
    assert ("/app/picture/query/" in door.page(report)) is is_shown


def test_report_that_exists_is_said_to_apply(door: Door) -> None:
    context = a_context(studies=(a_study(report_state=ReportState.FINAL),))
    text = text_of(door.page(a_case_report(), context=context))
    assert "A final radiology report exists. The report applies." in text


def test_patient_without_imaging_gets_a_sentence(door: Door) -> None:
    context = a_context(studies=(), missing=("ImagingStudy: the EHR answered 503.",))
    door.engine.analysis = LaunchAnalysis(context=context, studies=())
    text = text_of(door.page())
    assert "No imaging study" in text
    assert "the EHR answered 503" in text


@pytest.mark.parametrize(
    ("name", "image"), [("picture", 1.0), ("both", 0.6), ("record", 0.0), ("nonsense", 0.6)]
)
def test_weights_of_the_form_reach_the_engine(door: Door, name: str, image: float) -> None:
    page = door.client.get(f"/app/study?w=window1&weights={name}").text
    assert door.engine.analysed[-1][2].image == image
    chosen = re.findall(r'value="(\w+)" checked', page)
    assert chosen == [name if name != "nonsense" else "both"]


def test_pictures_of_the_shown_report_are_served_and_views_are_attributed(door: Door) -> None:
    door.page(a_case_report())
    for address in (
        f"/app/picture/query/{REPORT_ID}?w=window1",
        "/app/picture/case/case0031/picture0031?w=window1",
    ):
        answer = door.client.get(address)
        assert answer.status_code == 200
        assert answer.content_type == "image/png"
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert answer.data.startswith(b"\x89PNG")
    assert door.engine.viewed == [("case0031", "picture0031", "sandbox", "Practitioner/okafor")]


@pytest.mark.parametrize(
    "address",
    [
        "/app/picture/case/case0099/picture0099?w=window1",
        "/app/picture/case/case0001/picture0002?w=window1",
        "/app/picture/query/00000000-0000-0000-0000-000000000000?w=window1",
        "/app/report/00000000-0000-0000-0000-000000000000/fhir?w=window1",
    ],
    ids=["other-case", "other-picture", "other-query", "other-report"],
)
def test_what_this_window_did_not_show_is_not_served(door: Door, address: str) -> None:
    door.page(a_case_report())
    assert door.client.get(address).status_code == 404
    assert door.engine.viewed == []


def test_pictures_without_a_session_are_refused(app: Flask, door: Door) -> None:
    door.page(a_case_report())
    stranger = app.test_client()
    for address in (
        "/app/study?w=window1",
        f"/app/picture/query/{REPORT_ID}?w=window1",
        "/app/picture/case/case0001/picture0001?w=window1",
    ):
        assert stranger.get(address).status_code == 401


def test_another_window_of_the_same_browser_has_its_own_pictures(door: Door) -> None:
    door.page(a_case_report())
    door.open("window2", None)
    address = "/app/picture/case/case0001/picture0001?w="
    assert door.client.get(address + "window1").status_code == 200
    assert door.client.get(address + "window2").status_code == 404


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.UPSTREAM_FAILED, 502),
        (Reason.UPSTREAM_REFUSED, 502),
        (Reason.DEADLINE, 504),
        (Reason.INDEX_UNAVAILABLE, 503),
    ],
)
def test_failure_is_a_page_with_what_to_do(door: Door, reason: Reason, status: int) -> None:
    door.engine.failure = CdsError(reason, "The EHR answered 503.")
    answer = door.client.get("/app/study?w=window1")
    assert answer.status_code == status
    assert "The EHR answered 503." in answer.text
    assert "Nothing was compared." in answer.text
    assert wording.header("the synthetic library") in text_of(answer.text)


def test_unexpected_failure_is_a_page_with_an_id_and_no_text_of_it(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    door.engine.failure = RuntimeError("Weber, Ingrid")  # type: ignore[assignment]  # a bug
    answer = door.client.get("/app/study?w=window1")
    assert answer.status_code == 500
    assert "Weber" not in answer.text + caplog.text
    error_id = re.findall(r"this id: ([0-9a-f-]{36})", answer.text)[0]
    assert any(getattr(r, "error_id", None) == error_id for r in caplog.records)


def test_fhir_report_of_the_shown_answer_is_served_to_this_window(door: Door) -> None:
    page = door.page(a_case_report())
    assert f"/app/report/{REPORT_ID}/fhir" in page
    answer = door.client.get(f"/app/report/{REPORT_ID}/fhir?w=window1")
    assert answer.status_code == 200
    resource = answer.get_json(force=True)
    assert (resource["resourceType"], resource["id"]) == ("DiagnosticReport", REPORT_ID)
    assert "picture0001" not in answer.text


def test_print_style_hides_other_patients(door: Door) -> None:
    with door.client.get("/assets/app.css") as answer:
        style = answer.get_data(as_text=True)
    printed = style[style.index("@media print") :]
    assert re.search(r"\.matches[^{]*\{[^}]*display: none", printed)
    assert "http" not in style


def test_pages_when_the_image_model_changed_say_so_and_else_not(door: Door) -> None:
    assert "Image model changed" not in door.page(a_case_report())
    sentence = (
        "Image model changed 12 Nov (v3 to v4). Rankings may differ; signed reports are unchanged."
    )
    door.engine.model_change_sentence = sentence
    assert sentence in text_of(door.page(a_case_report()))
    assert sentence in text_of(door.client.get("/app/upload?w=window1").text)
