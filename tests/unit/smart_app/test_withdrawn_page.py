"""The study page when an earlier answer about the study no longer holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask

from cds.domain.errors import CdsError, Reason
from cds.domain.withdrawal import Withdrawal, WithdrawalReason
from smart_app.application import create_app
from tests.builders.case_report import REPORT_ID, a_case_report, a_study
from tests.fakes.clinician_door import Door, text_of
from tests.fakes.launch_engine import FakeLaunchEngine

EARLIER = "0b6e2b0e-52a8-5d0c-8c3e-1d5a1c9e7a77"


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(FakeLaunchEngine("https://ehr.example.invalid/fhir"))


@pytest.fixture
def door(app: Flask) -> Door:
    return Door(app)


def keep_withdrawn(door: Door, **over: object) -> None:
    moved = Withdrawal(WithdrawalReason.MOVED, door.engine.clock.now())
    values = {"report_id": EARLIER, "ehr_id": "sandbox", "patient_id": "p4", "study": a_study()}
    report = replace(a_case_report(), **{**values, **over})  # type: ignore[arg-type]
    door.engine.results.save(replace(report, withdrawn=moved), requested_by="hook")


def test_page_says_that_an_earlier_answer_about_this_study_was_withdrawn(door: Door) -> None:
    keep_withdrawn(door)
    text = text_of(door.page(a_case_report()))
    assert "Earlier answer: withdrawn: the study was moved to another patient (noticed" in text


def test_page_says_nothing_about_withdrawn_answers_of_other_studies(door: Door) -> None:
    keep_withdrawn(door, study=replace(a_study(), study_instance_uid="1.2.3"))
    assert "withdrawn" not in text_of(door.page(a_case_report()))


def test_page_that_shows_an_answer_is_remembered_with_who_saw_it(door: Door) -> None:
    door.page(a_case_report())
    seen = door.engine.background.lives.seen
    assert ("sandbox", REPORT_ID, "Practitioner/okafor", "app") in seen


def test_report_that_cannot_be_confirmed_is_not_handed_out(door: Door) -> None:
    door.page(a_case_report())
    door.engine.background.refusal = CdsError(Reason.UPSTREAM_FAILED, "The PACS is down.")
    answer = door.client.get(f"/app/report/{REPORT_ID}/fhir?w=window1")
    assert answer.status_code == 502
