"""Each row of the silence table, and the order in which they are tried."""

from dataclasses import replace
from datetime import timedelta

import pytest

from cds.domain.coding import Coding
from cds.domain.facts import HistoryFlag
from cds.domain.report import Direction
from cds.domain.silence import (
    Assessment,
    CardKind,
    ImageRule,
    SilenceOptions,
    SilenceState,
    decide,
    decide_for_user,
    fresh_limit,
    is_fresh,
    is_on_problem_list,
    is_recent,
    silence_row,
    silence_table,
)
from cds.domain.study import ReportState
from tests.builders.answers import NOW, a_case_report, a_finding_statement, a_study

READY = SilenceState("Practitioner")
ALL_ON = SilenceOptions(ready_card=True, pending_card=True)
NOTHING_ON = SilenceOptions()


@pytest.mark.parametrize(
    ("row", "state", "kind"),
    [
        pytest.param(1, SilenceState("Patient"), None, id="1-patient"),
        pytest.param(1, SilenceState("RelatedPerson"), None, id="1-related-person"),
        pytest.param(2, SilenceState("Device"), None, id="2-not-enrolled"),
        pytest.param(3, replace(READY, has_recent_study=False), None, id="3-no-study"),
        pytest.param(4, replace(READY, report_state=ReportState.FINAL), None, id="4-final"),
        pytest.param(
            4, replace(READY, report_state=ReportState.PRELIMINARY), None, id="4-preliminary"
        ),
        pytest.param(5, replace(READY, is_on_problem_list=True), None, id="5-known-problem"),
        pytest.param(6, replace(READY, is_shown_before=True), None, id="6-shown-before"),
        pytest.param(7, READY, CardKind.READY, id="7-ready"),
        pytest.param(
            10,
            replace(READY, assessment=Assessment.PENDING, is_fresh=True),
            CardKind.PENDING,
            id="10-pending",
        ),
        pytest.param(10, replace(READY, assessment=Assessment.PENDING), None, id="10-pending-old"),
        pytest.param(
            11,
            replace(READY, assessment=Assessment.NOT_ASSESSED),
            CardKind.NOT_ASSESSED,
            id="11-not-assessed",
        ),
        pytest.param(
            12,
            replace(READY, assessment=Assessment.IDENTITY_MISMATCH),
            CardKind.IDENTITY,
            id="12-identity",
        ),
        pytest.param(
            13,
            replace(READY, assessment=Assessment.UPSTREAM_DOWN, is_fresh=True),
            CardKind.OUTAGE,
            id="13-outage",
        ),
        pytest.param(
            13, replace(READY, assessment=Assessment.UPSTREAM_DOWN), None, id="13-outage-old-film"
        ),
        pytest.param(14, replace(READY, is_silent=True), None, id="14-silent"),
    ],
)
def test_decide_when_a_row_holds_answers_as_the_table_says(
    row: int, state: SilenceState, kind: CardKind | None
) -> None:
    decision = decide(state, ALL_ON)
    assert (decision.row, decision.kind) == (row, kind)


@pytest.mark.parametrize("rule", list(ImageRule))
def test_decide_when_an_image_rule_has_no_signed_threshold_takes_row_7(rule: ImageRule) -> None:
    assert decide(replace(READY, image_rule=rule), NOTHING_ON).row == 7


def test_table_when_read_has_14_rows_and_those_without_threshold_are_8_and_9() -> None:
    rows = silence_table()
    assert sorted(row.number for row in rows) == list(range(1, 15))
    assert {row.number for row in rows if row.threshold == "unsigned"} == {8, 9}


@pytest.mark.parametrize(
    ("number", "indicator"),
    [(7, "info"), (8, "warning"), (9, "critical"), (10, "info"), (11, "info"), (12, "warning")],
)
def test_table_when_a_row_shows_a_card_has_its_indicator(number: int, indicator: str) -> None:
    assert silence_row(number).indicator == indicator


def test_row_when_there_is_none_raises() -> None:
    with pytest.raises(KeyError):
        silence_row(15)


@pytest.mark.parametrize(
    ("assessment", "row"), [(Assessment.READY, 7), (Assessment.PENDING, 10)], ids=["ready", "pend"]
)
def test_decide_when_the_site_option_is_off_is_silent(assessment: Assessment, row: int) -> None:
    decision = decide(replace(READY, assessment=assessment, is_fresh=True), NOTHING_ON)
    assert (decision.row, decision.kind) == (row, None)


def test_decide_when_identity_differs_and_it_was_shown_before_shows_it_again() -> None:
    state = replace(READY, assessment=Assessment.IDENTITY_MISMATCH, is_shown_before=True)
    assert decide(state, NOTHING_ON).kind is CardKind.IDENTITY


def test_decide_when_silent_says_which_card_was_held_back() -> None:
    state = replace(READY, assessment=Assessment.IDENTITY_MISMATCH, is_silent=True)
    assert decide(state, NOTHING_ON).guarded_row == 12


def test_decide_when_the_user_is_a_patient_comes_before_everything_else() -> None:
    state = SilenceState("Patient", assessment=Assessment.IDENTITY_MISMATCH, is_silent=True)
    assert decide(state, ALL_ON).row == 1


@pytest.mark.parametrize(
    ("user_type", "row"),
    [("Patient", 1), ("Device", 2), ("Practitioner", None), ("PractitionerRole", None)],
)
def test_decide_for_user_when_the_user_alone_decides_needs_no_record(
    user_type: str, row: int | None
) -> None:
    decision = decide_for_user(user_type, ALL_ON)
    assert (decision.row if decision else None) == row


def test_decide_when_the_site_enrols_nurses_only_silences_practitioners() -> None:
    options = SilenceOptions(enrolled_user_types=frozenset({"Nurse"}))
    assert decide(READY, options).row == 2


@pytest.mark.parametrize(
    ("age", "recent"),
    [(timedelta(hours=72), True), (timedelta(hours=72, seconds=1), False), (None, True)],
    ids=["at-limit", "over", "unknown-time"],
)
def test_is_recent_when_the_study_has_an_age_compares_it_with_the_window(
    age: timedelta | None, recent: bool
) -> None:
    study = a_study(started_at=None if age is None else NOW - age)
    assert is_recent(study, as_of=NOW, options=NOTHING_ON) is recent


@pytest.mark.parametrize(
    ("age", "fresh"),
    [(timedelta(minutes=59), True), (timedelta(minutes=60), False), (None, False)],
    ids=["under", "at-limit", "unknown-time"],
)
def test_is_fresh_when_the_study_arrived_compares_with_60_minutes(
    age: timedelta | None, fresh: bool
) -> None:
    study = a_study(started_at=None if age is None else NOW - age)
    assert fresh_limit() == timedelta(minutes=60)
    assert is_fresh(study, as_of=NOW) is fresh


FAILURE = Coding("Heart failure", "84114007")


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        pytest.param((HistoryFlag(FAILURE),), True, id="known"),
        pytest.param((HistoryFlag(FAILURE, is_active=False),), False, id="not-active"),
        pytest.param((), False, id="unknown"),
    ],
)
def test_problem_list_when_compared_with_what_is_more_frequent(
    history: tuple[HistoryFlag, ...], expected: bool
) -> None:
    assert is_on_problem_list(a_case_report(), history) is expected


def test_problem_list_when_nothing_is_more_frequent_is_not_row_5() -> None:
    statement = a_finding_statement(direction=Direction.SIMILAR)
    report = a_case_report(findings=(statement,))
    assert not is_on_problem_list(report, (HistoryFlag(FAILURE),))
