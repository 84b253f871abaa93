"""What followed a film: the table of outcomes over a course, whatever the order of its events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cds.domain.follow_up import event_terms, outcome_rules
from cds.domain.outcome_terms import EVENTS, NUMBERS, STATES
from cds.domain.patient_course import CourseEvent, HospitalStay, PatientCourse, after_film

FILM_AT = datetime(2025, 3, 4, 6, tzinfo=UTC)
KEPT = frozenset(event_terms())
offsets = st.integers(-400, 800).map(lambda hours: FILM_AT + timedelta(hours=hours))


@st.composite
def courses(draw: st.DrawFn) -> PatientCourse:
    begins, ends = sorted((draw(offsets), draw(offsets)))
    events = [
        CourseEvent(draw(st.sampled_from(sorted(KEPT))), at, draw(st.none() | st.just(at)))
        for at in draw(st.lists(offsets, max_size=4))
    ]
    died_on = draw(st.none() | offsets.map(datetime.date))
    return PatientCourse(
        read_at=FILM_AT + timedelta(days=draw(st.integers(0, 800))),
        died_on=died_on,
        stays=(HospitalStay("stay", begins, draw(st.sampled_from([None, ends]))),),
        events=tuple(events),
        last_contact_at=draw(st.none() | offsets),
        kept_events=KEPT,
    )


@given(courses())
def test_no_answer_is_given_twice_or_from_the_future(course: PatientCourse) -> None:
    after = after_film(course, FILM_AT, source="EHR")
    asked = [(o.code, o.horizon_days) for o in after.outcomes]
    assert len(asked) == len(set(asked))
    for outcome in after.outcomes:
        assert outcome.source == "EHR"
        if outcome.value == 0.0:
            assert outcome.observed_on is not None
            assert outcome.observed_on <= course.read_at.date()


@given(courses())
def test_nothing_is_denied_of_a_partial_record(course: PatientCourse) -> None:
    whole, partial = (
        {(o.code, o.horizon_days): o.value for o in after_film(c, FILM_AT).outcomes}
        for c in (course, replace(course, is_partial=True))
    )
    assert partial.items() <= whole.items()
    denied = {key for key in partial if partial[key] == 0.0}
    has_died = course.died_on is not None
    assert {key for key in denied if key[0] == "death"} == set() or has_died
    assert not {code for code, _ in denied} & {"icu-admission", "ventilation", "return"}


@given(courses(), st.randoms())
def test_order_of_events_changes_nothing(course: PatientCourse, random: object) -> None:
    shuffled = list(course.events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # random.Random
    again = replace(course, events=tuple(shuffled))
    assert after_film(again, FILM_AT) == after_film(course, FILM_AT)


@given(courses())
def test_what_was_true_at_the_film_is_never_an_outcome(course: PatientCourse) -> None:
    after = after_film(course, FILM_AT)
    codes = {o.code for o in after.outcomes}
    for rule in outcome_rules():
        if rule.state in after.states_at_film:
            assert rule.code not in codes


def test_every_row_has_words_and_terms() -> None:
    for rule in outcome_rules():
        assert rule.code in EVENTS or rule.code in NUMBERS
        if rule.kind == "event":
            assert rule.event in event_terms()
            assert rule.state in STATES


def test_death_on_the_last_day_of_the_window_counts() -> None:
    course = PatientCourse(FILM_AT + timedelta(days=400), died_on=date(2025, 4, 3))
    values = {(o.code, o.horizon_days): o.value for o in after_film(course, FILM_AT).outcomes}
    assert values == {("death", 30): 1.0, ("death", 365): 1.0}
    next_day = replace(course, died_on=date(2025, 4, 4))
    values = {(o.code, o.horizon_days): o.value for o in after_film(next_day, FILM_AT).outcomes}
    assert values == {("death", 30): 0.0, ("death", 365): 1.0}
