"""A hook call through the application: answers, silences, refusals, memory and time."""

import re
import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from cds.domain.coding import Coding
from cds.domain.errors import CdsError, Reason
from cds.domain.facts import HistoryFlag
from cds.domain.registration import Stage
from cds.domain.report import AnswerState, Priority
from cds.domain.study import ReportState
from cds.ports import Deadline
from tests.builders.answers import (
    NOW,
    REPORT_ID,
    a_case_report,
    a_context,
    a_registration,
    a_study,
)
from tests.fakes.engine import AskedAnalysis, FakeHookAnalysis
from tests.fakes.machine_door import ACCESS_TOKEN, BASE, SIMILAR_CASES, MachineDoor, a_hook_body


@pytest.fixture
def door() -> MachineDoor:
    return MachineDoor()


def an_error(reason: Reason) -> CdsError:
    return CdsError(reason, "A sentence without PHI.")


def test_call_when_ready_and_the_site_wants_it_shows_one_card(door: MachineDoor) -> None:
    (card,) = door.cards()
    assert card["summary"] == (
        "Chest film 06:41, not yet reported: comparison with 31 past patients is ready."
    )
    assert card["indicator"] == "info"
    assert door.silence_rows == [7]


def test_card_when_ready_links_to_the_app_with_study_and_report(door: MachineDoor) -> None:
    (link,) = door.cards()[0]["links"]
    assert (link["type"], link["url"]) == ("smart", "https://cds.example.invalid/launch")
    assert link["appContext"] == (
        f'{{"study":"2.25.1","accession":"ACC-1","report":"{REPORT_ID}"}}'
    )


def test_card_when_ready_names_no_finding_and_no_single_case(door: MachineDoor) -> None:
    detail = door.cards()[0]["detail"]
    for secret in ("eart failure", "case-1", "60-69", "2023", "Secretname", "SECRET-MRN"):
        assert secret not in detail


def test_card_when_ready_says_what_was_compared_and_what_was_missing(door: MachineDoor) -> None:
    detail = door.cards()[0]["detail"]
    assert "priority" not in detail  # it belongs to the reading list
    for words in (
        "Investigational software. Compares this picture with past cases of the test library;",
        "Study: Chest film, 12 Nov 2026 06:41 (Asia/Kolkata), modality DX, body part CHEST.",
        "Stage of use: research, protocol P-1.",
        "31 past patients",
        "Not used: lactate (none within 6 h of the film)",
        "Record read: 12 Nov 2026 07:05 (Asia/Kolkata).",
    ):
        assert words in detail


def test_card_when_few_patients_matched_masks_the_count(door: MachineDoor) -> None:
    door.analyses(report=a_case_report(neighbors=a_case_report().neighbors[:3]))
    (card,) = door.cards()
    assert "comparison with fewer than 5 past patients is ready" in card["summary"]
    assert "Matched: fewer than 5 past patients" in card["detail"]


def test_card_when_nothing_is_comparable_says_the_abstention(door: MachineDoor) -> None:
    abstention = "No past case is similar enough: best similarity 0.41, limit 0.58. (2 * 3)"
    report = a_case_report(
        state=AnswerState.NOTHING_COMPARABLE, abstention=abstention, neighbors=()
    )
    door.analyses(report=report)
    (card,) = door.cards()
    assert card["summary"].startswith("Chest film 06:41: no past case is similar enough;")
    assert "best similarity 0.41, limit 0.58. (2 \\* 3)" in card["detail"]


def test_card_when_physiology_raised_the_priority_does_not_repeat_it(door: MachineDoor) -> None:
    sentence = "Suggested review priority: Prompt. Rule PHYS-1 v1: Oxygen saturation 89 %."
    door.analyses(report=a_case_report(priority=Priority.PROMPT, priority_sentence=sentence))
    (card,) = door.cards()
    assert "PHYS-1" not in card["detail"]
    assert "normal" not in card["detail"]
    assert card["indicator"] == "info"


def test_source_when_the_stage_is_sandbox_is_marked_as_test() -> None:
    door = MachineDoor(a_registration(stage=Stage.SANDBOX, department_label="Radiology"))
    assert door.cards()[0]["source"]["label"] == "Radiology TEST"


@pytest.mark.parametrize(
    ("user", "row"), [("Patient/p4", 1), ("RelatedPerson/r1", 1), ("Device/d1", 2)]
)
def test_call_when_the_user_will_see_nothing_reads_nothing(
    door: MachineDoor, user: str, row: int
) -> None:
    body = a_hook_body(context={"userId": user, "patientId": "p4"})
    assert door.cards(body) == []
    assert door.silence_rows == [row]
    assert door.engine.asked == []


@pytest.mark.parametrize(
    ("prepared", "row"),
    [
        pytest.param({"has_study": False}, 3, id="3-no-study"),
        pytest.param({}, 3, id="3-image-module-off"),
        pytest.param({"study": a_study(report_state=ReportState.FINAL)}, 4, id="4-reported"),
        pytest.param(
            {
                "study": a_study(started_at=NOW - timedelta(hours=73)),
                "report": a_case_report(),
            },
            3,
            id="3-too-old",
        ),
        pytest.param({"is_pending": True, "study": a_study(started_at=None)}, 10, id="10-old"),
    ],
)
def test_call_when_the_table_says_silence_stores_the_row(
    door: MachineDoor, prepared: dict[str, Any], row: int
) -> None:
    door.analyses(**prepared)
    assert door.cards() == []
    assert door.silence_rows == [row]


def test_call_when_the_finding_is_known_already_is_silent(door: MachineDoor) -> None:
    context = a_context(history=(HistoryFlag(Coding("Heart failure", "84114007")),))
    found = FakeHookAnalysis(context, a_study(), a_case_report())
    door.engine.analyse = lambda _asked, _deadline: found
    assert door.cards() == []
    assert door.silence_rows == [5]


def test_call_when_the_same_was_shown_before_is_silent_for_this_user_only(
    door: MachineDoor,
) -> None:
    assert len(door.cards()) == 1
    assert door.cards() == []
    other = a_hook_body(context={"userId": "Practitioner/dr-2", "patientId": "p4"})
    assert len(door.cards(other)) == 1
    assert door.silence_rows == [7, 6, 7]


def test_call_when_the_priority_rose_shows_the_card_again(door: MachineDoor) -> None:
    door.cards()
    door.analyses(report=a_case_report(priority=Priority.PROMPT))
    assert len(door.cards()) == 1
    door.analyses(report=a_case_report(priority=Priority.NONE))
    assert door.cards() == []


def test_call_when_the_site_wants_no_ready_card_is_silent() -> None:
    door = MachineDoor(a_registration(ready_card=False))
    assert door.cards() == []
    assert door.silence_rows == [7]


def test_call_when_silent_analyses_stores_and_shows_nothing() -> None:
    door = MachineDoor(a_registration(stage=Stage.SILENT))
    assert door.cards() == []
    assert door.silence_rows == [14]
    assert len(door.engine.asked) == 1
    detail = door.engine.audit.events[-1].detail or ""
    assert re.fullmatch(r"row=14 card=none held-back=7 ms=\d+", detail)


def test_call_when_pending_and_fresh_says_so_once(door: MachineDoor) -> None:
    door.analyses(is_pending=True, failure=an_error(Reason.DEADLINE))
    (card,) = door.cards()
    assert card["summary"] == (
        "Chest film 06:41 has arrived. Comparison with past cases is still running; "
        "read in normal order."
    )
    assert door.cards() == []
    assert door.silence_rows == [10, 6]


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (Reason.IMAGE_UNSUPPORTED, "image type not supported"),
        (Reason.IMAGE_UNREADABLE, "image could not be read"),
        (Reason.NO_IMAGING, "no image found"),
        (Reason.UPSTREAM_REFUSED, "no access to the images"),
        (Reason.INVALID_CONFIGURATION, "comparison not possible"),
    ],
)
def test_call_when_not_assessed_says_why_once(door: MachineDoor, reason: Reason, why: str) -> None:
    door.analyses(failure=an_error(reason), report=a_not_assessed_report(reason))
    (card,) = door.cards()
    assert card["summary"] == (
        f"Chest film 06:41 was not assessed by software ({why}). Read in normal order."
    )
    assert door.cards() == []
    assert door.silence_rows == [11, 6]


def a_not_assessed_report(reason: Reason) -> Any:
    return a_case_report(
        state=AnswerState.NOT_ASSESSED,
        not_assessed_reason=reason.value,
        neighbors=(),
        findings=(),
    )


def test_call_when_a_kept_answer_was_not_assessed_needs_no_failure(door: MachineDoor) -> None:
    door.analyses(report=a_not_assessed_report(Reason.IMAGE_UNREADABLE))
    assert "image could not be read" in door.cards()[0]["summary"]


def test_call_when_the_picture_is_another_patients_warns_each_time(door: MachineDoor) -> None:
    door.analyses(
        failure=an_error(Reason.IDENTITY_MISMATCH),
        report=a_not_assessed_report(Reason.IDENTITY_MISMATCH),
    )
    for _ in range(2):
        (card,) = door.cards()
        assert card["indicator"] == "warning"
        assert card["summary"] == (
            "Chest film 06:41 was not assessed by software: its patient ID does not match this "
            "chart. Tell the PACS team."
        )
    assert door.silence_rows == [12, 12]


def test_call_when_the_pacs_is_down_says_since_when_once_per_outage(door: MachineDoor) -> None:
    door.analyses(failure=an_error(Reason.UPSTREAM_FAILED))
    (card,) = door.cards()
    assert card["summary"] == (
        "Images cannot be reached since 07:05. Chest film 06:41 was not assessed by software. "
        "Read in normal order."
    )
    door.clock.advance(timedelta(minutes=5))
    assert door.cards() == []
    door.analyses(report=a_case_report())
    door.cards()
    door.analyses(failure=an_error(Reason.UPSTREAM_FAILED))
    (again,) = door.cards()
    assert again["summary"].startswith("Images cannot be reached since 07:10.")


def test_call_when_the_pacs_is_down_and_the_film_is_old_is_silent(door: MachineDoor) -> None:
    study = a_study(started_at=NOW - timedelta(hours=5))
    door.analyses(study=study, failure=an_error(Reason.UPSTREAM_FAILED))
    assert door.cards() == []
    assert door.silence_rows == [13]


def test_call_when_the_time_zone_is_unknown_says_utc() -> None:
    door = MachineDoor(a_registration(time_zone="Nowhere/Atlantis"))
    assert "Chest film 01:11 UTC, not yet reported" in door.cards()[0]["summary"]


# --- memory -----------------------------------------------------------------------------------


def test_call_when_repeated_gets_the_same_answer_and_no_second_analysis(door: MachineDoor) -> None:
    body = a_hook_body()
    first, second = door.call(body), door.call(body)
    assert first.get_json() == second.get_json()
    assert first.get_json()["cards"]
    assert len(door.engine.asked) == 1
    assert door.silence_rows == [7]


def test_call_when_the_hook_instance_comes_with_another_patient_is_refused(
    door: MachineDoor,
) -> None:
    body = a_hook_body()
    door.call(body)
    other = {**body, "context": {"userId": "Practitioner/dr-1", "patientId": "p5"}}
    response = door.call(other)
    assert response.status_code == 400
    assert "hookInstance" in response.text


def test_call_when_answered_is_audited_by_keys_only(door: MachineDoor) -> None:
    body = a_hook_body()
    door.call(body)
    (event,) = door.engine.audit.events
    assert (event.action, event.outcome) == ("hook.answered", "success")
    assert event.entity == body["hookInstance"]
    assert re.fullmatch(r"row=7 card=ready ms=\d+", event.detail or "")
    assert "dr-1" not in repr(event)
    assert event.patient_key
    assert event.patient_key != "p4"


@pytest.mark.requirement("HOOKS-TOKEN-TRANSIENT")
def test_token_when_the_call_is_over_is_kept_nowhere(door: MachineDoor) -> None:
    door.call()
    kept = door.engine.hook_calls.everything + repr(door.engine.audit.events)
    assert ACCESS_TOKEN not in kept
    assert door.engine.asked[0].access.access_token is not None


# --- access to the record -------------------------------------------------------------------


def test_access_when_the_token_has_run_out_is_prefetch_only(door: MachineDoor) -> None:
    authorization = {**a_hook_body()["fhirAuthorization"], "expires_in": 0}
    door.call(a_hook_body(fhirAuthorization=authorization))
    assert door.engine.asked[0].access.access_token is None


@pytest.mark.requirement("HOOKS-PREFETCH-NULL")
def test_prefetch_when_a_key_is_null_reaches_the_reader_as_null(door: MachineDoor) -> None:
    door.call(a_hook_body(prefetch={"conditions": None}))
    assert door.engine.asked[0].prefetch == {"conditions": None}


@pytest.mark.parametrize(
    "server",
    [
        "https://evil.example.invalid/r4",
        "http://ehr.example.invalid/r4",
        "https://ehr.example.invalid/r4/../x",
        "https://ehr.example.invalid@evil.example.invalid/r4",
    ],
)
def test_call_when_the_fhir_server_is_not_registered_is_refused_and_asks_nobody(
    door: MachineDoor, server: str
) -> None:
    response = door.call(a_hook_body(fhirServer=server))
    assert response.status_code == 403
    assert door.engine.asked == []


def test_call_when_the_fhir_server_ends_with_a_slash_is_the_registered_one(
    door: MachineDoor,
) -> None:
    assert door.call(a_hook_body(fhirServer="https://ehr.example.invalid/r4/")).status_code == 200


@pytest.mark.requirement("HOOKS-412")
@pytest.mark.parametrize(
    "reason",
    [
        Reason.MISSING_CONTEXT,
        Reason.UPSTREAM_FAILED,
        Reason.UPSTREAM_REFUSED,
        Reason.NOT_FOUND,
        Reason.EGRESS_REFUSED,
    ],
)
def test_call_when_the_record_cannot_be_had_is_412_with_an_outcome(
    door: MachineDoor, reason: Reason
) -> None:
    door.refuses(an_error(reason))
    response = door.call()
    assert response.status_code == 412
    outcome = response.get_json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert "A sentence without PHI." in outcome["issue"][0]["details"]["text"]
    assert door.engine.audit.events[-1].outcome == reason.value


def test_call_when_prefetch_is_about_another_patient_is_409_and_audited(door: MachineDoor) -> None:
    door.refuses(an_error(Reason.IDENTITY_MISMATCH))
    assert door.call().status_code == 409
    assert door.engine.audit.events[-1].outcome == "identity-mismatch"


def test_call_when_refused_may_be_tried_again_with_the_same_hook_instance(
    door: MachineDoor,
) -> None:
    body = a_hook_body()
    door.refuses(an_error(Reason.UPSTREAM_FAILED))
    door.call(body)
    door.analyses(report=a_case_report())
    assert len(door.cards(body)) == 1


# --- time ------------------------------------------------------------------------------------


def test_engine_when_asked_gets_less_time_than_the_call(door: MachineDoor) -> None:
    door.call()
    limit_s = door.engine.settings.hook_deadline_ms / 1000
    assert 0 < door.engine.asked[0].remaining_s < limit_s


@pytest.mark.requirement("HOOKS-RESPONSE-TIME")
def test_call_when_the_engine_does_not_return_is_answered_without_it(door: MachineDoor) -> None:
    released = threading.Event()

    def hang(_asked: AskedAnalysis, _deadline: Deadline) -> FakeHookAnalysis:
        released.wait(timeout=30)
        return FakeHookAnalysis(a_context())

    door.engine.analyse = hang
    try:
        assert door.cards() == []
        assert not released.is_set()
    finally:
        released.set()
    assert door.silence_rows == [10]


def test_call_when_the_engine_fails_by_a_timeout_of_its_own_is_not_taken_for_late(
    door: MachineDoor,
) -> None:
    def fail(_asked: AskedAnalysis, _deadline: Deadline) -> FakeHookAnalysis:
        raise TimeoutError

    door.engine.analyse = fail
    assert door.call().status_code == 500
    assert door.silence_rows == []


def test_call_when_reading_the_record_took_too_long_is_silent(door: MachineDoor) -> None:
    door.refuses(an_error(Reason.DEADLINE))
    assert door.cards() == []
    assert door.silence_rows == [10]


# --- shape -----------------------------------------------------------------------------------


def test_call_when_the_service_is_unknown_is_404(door: MachineDoor) -> None:
    assert door.call(path=f"{BASE}/other").status_code == 404


def test_feedback_when_it_is_not_built_is_404(door: MachineDoor) -> None:
    assert door.call(path=f"{SIMILAR_CASES}/feedback").status_code == 404


def test_call_when_the_ehr_is_unknown_is_404(door: MachineDoor) -> None:
    path = "/t/elsewhere/cds-services/precedent-similar-cases"
    assert door.call(path=path).status_code == 404


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        pytest.param("text/plain", b"{}", 415, id="media-type"),
        pytest.param("application/json", b"{", 400, id="no-json"),
        pytest.param("application/json", b"\xff\xfe", 400, id="no-utf8"),
        pytest.param("application/json", b"[]", 400, id="no-object"),
        pytest.param("application/json", b" " * (4 * 1024 * 1024 + 1), 413, id="too-large"),
    ],
)
def test_call_when_the_body_is_malformed_has_its_status(
    door: MachineDoor, kind: str, data: bytes, status: int
) -> None:
    token = door.cds_client.token(f"https://cds.example.invalid{SIMILAR_CASES}")
    response = door.http.post(
        SIMILAR_CASES,
        data=data,
        headers={"Content-Type": kind, "Authorization": f"Bearer {token}"},
    )
    assert response.status_code == status
    assert response.get_json()["resourceType"] == "OperationOutcome"


def test_call_when_the_method_is_get_is_405(door: MachineDoor) -> None:
    response = door.http.get(SIMILAR_CASES)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]


def test_call_when_the_body_is_malformed_does_not_repeat_its_values(door: MachineDoor) -> None:
    secret = f"secret-{uuid4()}"
    response = door.call(a_hook_body(context={"userId": secret, "patientId": "p4"}))
    assert response.status_code == 400
    assert secret not in response.text
