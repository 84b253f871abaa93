"""Whatever the record holds: short summaries, nothing empty, no patient and no token in logs."""

import io
import logging
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds.domain.errors import CdsError, Reason
from cds.domain.local_time import date_time_text, time_text
from cds.domain.report import AnswerState
from cds.hooks.display_text import DisplayText
from cds.web.logs import JsonFormatter
from tests.builders.answers import NOW, a_case_report, a_registration, a_study
from tests.fakes.cds_client import CdsClientDouble
from tests.fakes.machine_door import ACCESS_TOKEN, SIMILAR_CASES, MachineDoor, a_hook_body

REASONS = st.sampled_from([None, *Reason])
STUDIES = st.builds(
    a_study,
    body_part=st.none() | st.text(max_size=60),
    modality=st.none() | st.sampled_from(["DX", "CT", "US", "XX"]) | st.text(max_size=8),
    started_at=st.none()
    | st.integers(-30, 80 * 60).map(lambda minutes: NOW - timedelta(minutes=minutes)),
)
MISSING = st.lists(st.text(max_size=40), max_size=3).map(tuple)
REPORTS = st.builds(
    a_case_report,
    state=st.sampled_from(AnswerState),
    library_name=st.text(min_size=1, max_size=60).filter(str.strip),
    inputs_missing=MISSING,
    abstention=st.none() | st.text(max_size=200),
    neighbors=st.integers(0, 31).map(lambda n: a_case_report().neighbors[:n]),
    not_assessed_reason=st.none() | st.text(max_size=20),
)


def empties(value: Any, path: str = "") -> list[str]:
    """Return where a body holds null, blank text, an empty array or object."""
    if value is None or value in ("", [], {}):
        return [] if path == "/cards" else [path]
    members = value.items() if isinstance(value, dict) else enumerate(value)
    if not isinstance(value, dict | list):
        return []
    return [found for key, member in members for found in empties(member, f"{path}/{key}")]


@settings(max_examples=30)
@given(study=STUDIES, report=st.none() | REPORTS, reason=REASONS, is_pending=st.booleans())
def test_answer_when_the_study_is_anything_is_short_and_never_empty(
    study: Any, report: Any, reason: Reason | None, is_pending: bool
) -> None:
    door = MachineDoor(a_registration(time_zone="Nowhere/Unknown"))
    failure = None if reason is None else CdsError(reason, "It failed.")
    door.analyses(study=study, report=report, failure=failure, is_pending=is_pending)
    response = door.call()
    assert response.status_code == 200
    assert not empties(response.get_json())
    for card in response.get_json()["cards"]:
        assert 0 < len(card["summary"]) < 140
        assert "\n" not in card["summary"]


@given(text=st.text(max_size=80))
def test_escaped_when_text_is_anything_has_no_tag_and_no_second_line(text: str) -> None:
    escaped = DisplayText.escaped(text)
    assert "<" not in escaped
    assert ">" not in escaped
    assert len(escaped.splitlines()) <= 1


@given(text=st.text(alphabet="abc <>&*_`[]()!#-.:/@|~\\", max_size=40))
def test_escaped_when_a_reader_renders_it_shows_the_words_again(text: str) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    rendered = markdown_it.MarkdownIt("commonmark", {"html": True}).render(
        DisplayText.escaped(text)
    )
    body = rendered.removeprefix("<p>").removesuffix("</p>\n")
    assert "<" not in body
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        body = body.replace(entity, character)
    assert body.split() == text.split()


@given(minutes=st.integers(0, 10**6), zone=st.sampled_from(["Asia/Kolkata", "UTC", "X/Y", ""]))
def test_time_when_in_any_zone_is_short_and_named(minutes: int, zone: str) -> None:
    moment = NOW - timedelta(minutes=minutes)
    assert len(time_text(moment, now=NOW, time_zone=zone)) <= 16
    assert date_time_text(moment, time_zone=zone).endswith(")")


# --- logs --------------------------------------------------------------------------------------


class Captured:
    """Everything that any logger says while it is open, as the product formats it."""

    def __enter__(self) -> io.StringIO:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(JsonFormatter())
        root = logging.getLogger()
        self.level = root.level
        root.addHandler(self.handler)
        root.setLevel(logging.DEBUG)
        return self.stream

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self.handler)
        root.setLevel(self.level)


SEEDS = st.uuids(version=4).map(lambda u: u.hex)


@settings(max_examples=30)
@given(seed=SEEDS, situation=st.sampled_from(["ok", "refuse", "fail", "shape", "jwt", "fhir"]))
def test_logs_when_a_call_goes_any_way_hold_no_patient_and_no_token(
    seed: str, situation: str
) -> None:
    door = MachineDoor()
    body = a_hook_body(
        context={"userId": f"Practitioner/u{seed}", "patientId": f"p{seed}"},
        prefetch={"patient": {"resourceType": "Patient", "id": seed, "name": [{"text": seed}]}},
    )
    body["fhirAuthorization"]["access_token"] = f"token-{seed}"
    with Captured() as captured:
        _call(door, body, seed, situation)
    lines = captured.getvalue()
    assert '"event":"answered"' in lines
    assert seed not in lines
    assert ACCESS_TOKEN not in lines


def _call(door: MachineDoor, body: dict[str, Any], seed: str, situation: str) -> None:
    if situation == "refuse":
        door.refuses(CdsError(Reason.UPSTREAM_FAILED, "The EHR answered 503.", status=503))
    elif situation == "fail":

        def fail(_asked: object, _deadline: object) -> Any:
            raise RuntimeError(seed)

        door.engine.analyse = fail
    elif situation == "shape":
        body["context"]["patientId"] = f"Patient/{seed}"
    elif situation == "jwt":
        claims = {"iss": f"https://{seed}.example.invalid"}
        forged = CdsClientDouble(door.clock).token(SIMILAR_CASES, claims=claims)
        door.call(body, token=forged)
        return
    elif situation == "fhir":
        headers = {"Authorization": f"Bearer {seed}"}
        door.http.get(f"/fhir/DiagnosticReport/{seed}?patient={seed}", headers=headers)
        return
    door.call(body)


def test_log_when_a_library_speaks_says_who_and_where_but_not_what() -> None:
    with Captured() as captured:
        logging.getLogger("some.library").warning("GET /Patient?name=%s", "Secretname")
    line = orjson.loads(captured.getvalue())
    assert line["logger"] == "some.library"
    assert line["event"] == "library-message"
    assert "Secretname" not in captured.getvalue()
    assert "/Patient" not in captured.getvalue()


def test_log_when_we_pass_a_field_that_is_not_listed_drops_it() -> None:
    secret = str(uuid4())
    with Captured() as captured:
        logging.getLogger("cds.x").info("event", extra={"patient": secret, "status": 200})
    assert orjson.loads(captured.getvalue())["status"] == 200
    assert secret not in captured.getvalue()


def test_log_when_an_exception_is_attached_names_its_class_only() -> None:
    with Captured() as captured:
        try:
            int("SECRET")
        except ValueError:
            logging.getLogger("cds.x").exception("event")
    assert orjson.loads(captured.getvalue())["error_class"] == "ValueError"
    assert "SECRET" not in captured.getvalue()
