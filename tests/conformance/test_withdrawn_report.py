"""A withdrawn answer in FHIR: entered-in-error, a version of its own, and nothing else said."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cds.domain.errors import CdsError, Reason
from cds.domain.registration import ReportMode
from cds.domain.withdrawal import Withdrawal, WithdrawalReason
from cds.fhir.diagnostic_report import diagnostic_report_bundle, diagnostic_report_from_report
from tests.builders.answers import EHR_ID, NOW, REPORT_ID, a_case_report, a_registration
from tests.fakes.engine import FakeTokenClaims
from tests.fakes.machine_door import ACCESS_TOKEN, MachineDoor

NOTICED_AT = datetime(2026, 11, 13, 3, 5, tzinfo=UTC)
MOVED = Withdrawal(WithdrawalReason.MOVED, NOTICED_AT)
SERVED = a_registration(report_mode=ReportMode.PRELIMINARY)


@pytest.fixture
def door() -> MachineDoor:
    opened = MachineDoor(SERVED)
    opened.engine.tokens[ACCESS_TOKEN] = FakeTokenClaims(
        "system/DiagnosticReport.rs", "reader", None, NOW.replace(year=NOW.year + 1)
    )
    opened.engine.results.save(a_case_report(), requested_by="hook")
    return opened


def read(door: MachineDoor, path: str = f"/{REPORT_ID}"):
    headers = {"Authorization": f"Bearer {ACCESS_TOKEN}"}
    return door.http.get(f"/t/{EHR_ID}/fhir/DiagnosticReport{path}", headers=headers)


@pytest.mark.parametrize("reason", [r for r in WithdrawalReason if r.value != "superseded"])
def test_withdrawn_answer_is_entered_in_error_with_all_that_belongs_to_it(reason) -> None:
    report = replace(a_case_report(), withdrawn=Withdrawal(reason, NOTICED_AT))
    bundle = diagnostic_report_bundle(report, SERVED)
    states = {
        entry["resource"]["status"]
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] in {"DiagnosticReport", "Observation"}
    }
    assert states == {"entered-in-error"}
    main = bundle["entry"][0]["resource"]
    assert main["conclusion"].startswith("Withdrawn: ")
    assert "2026-11-13" in main["conclusion"]
    assert main["meta"]["versionId"] == "2"
    assert main["meta"]["lastUpdated"].startswith("2026-11-13")


def test_superseded_answer_stays_preliminary_and_says_that_a_newer_one_exists() -> None:
    superseded = Withdrawal(WithdrawalReason.SUPERSEDED, NOTICED_AT)
    report = replace(a_case_report(), withdrawn=superseded)
    resource = diagnostic_report_from_report(report, SERVED)
    assert resource["status"] == "preliminary"
    assert resource["conclusion"].startswith("Superseded: ")


def test_read_of_an_answer_that_no_longer_holds_says_so_at_this_very_use(door) -> None:
    assert read(door).get_json()["status"] == "preliminary"
    door.engine.background.withdrawal = MOVED
    assert read(door).get_json()["status"] == "entered-in-error"
    found = read(door, f"?patient=Patient/{a_case_report().patient_id}").get_json()
    assert [e["resource"]["status"] for e in found["entry"]] == ["entered-in-error"]


def test_read_when_the_archive_is_down_serves_nothing_that_cannot_be_confirmed(door) -> None:
    door.engine.background.refusal = CdsError(Reason.UPSTREAM_FAILED, "The PACS is down.")
    assert read(door).status_code == 502


def test_read_is_remembered_with_who_read(door) -> None:
    read(door)
    assert door.engine.background.lives.seen == [(EHR_ID, REPORT_ID, "reader", "fhir")]


def test_card_that_is_shown_is_remembered_with_who_saw_it_and_a_silent_one_is_not() -> None:
    door = MachineDoor()
    assert door.cards()
    seen = door.engine.background.lives.seen
    assert seen == [(EHR_ID, REPORT_ID, "Practitioner/dr-1", "hook")]
    door.cards()  # shown before: no card
    assert len(seen) == 1
