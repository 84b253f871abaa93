"""What became of a patient after a film: the course that a record tells -> outcomes and states."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from cds.domain.facts import Outcome
from cds.domain.follow_up import OutcomeRule, outcome_rules

YES, NO = 1.0, 0.0


@dataclass(frozen=True, slots=True)
class HospitalStay:
    """An inpatient or emergency stay; `ended_at` None while it lasts."""

    encounter_id: str
    started_at: datetime
    ended_at: datetime | None = None
    has_died_there: bool = False

    def contains(self, at: datetime) -> bool:
        """Tell whether the stay was going on at a time."""
        return self.started_at <= at and (self.ended_at is None or at <= self.ended_at)


@dataclass(frozen=True, slots=True)
class CourseEvent:
    """Something that happened to the patient, at a time or over a span.

    Attributes
    ----------
    event
        Name of the `EventTerms`.
    ended_at
        None if it lasts, or if the record names a moment only (`is_moment`).
    is_moment
        True where the record gives no span: it says nothing about a later film.

    """

    event: str
    started_at: datetime
    ended_at: datetime | None = None
    is_moment: bool = False

    def contains(self, at: datetime) -> bool:
        """Tell whether it was going on at a time."""
        if self.is_moment:
            return False
        return self.started_at <= at and (self.ended_at is None or at <= self.ended_at)


@dataclass(frozen=True, slots=True, repr=False)
class PatientCourse:
    """What a record says about a patient over time, read at one moment.

    Attributes
    ----------
    read_at
        Aware UTC.
    died_on
        None if no date is recorded.
    stays
        Emergency and inpatient.
    events
        In any order.
    last_contact_at
        The latest time at which the record shows the patient alive: a visit, a value measured.
    kept_events
        Kinds of events that this record demonstrably keeps: without one, "no" cannot be told from
        "never recorded here".
    complete_until
        Until when the site states that deaths and returns are complete (a register is linked).
    is_partial
        Whether a part of the record could not be read: then no absence is believed.

    """

    read_at: datetime
    died_on: date | None = None
    stays: tuple[HospitalStay, ...] = ()
    events: tuple[CourseEvent, ...] = ()
    last_contact_at: datetime | None = None
    kept_events: frozenset[str] = frozenset()
    complete_until: date | None = None
    is_partial: bool = False

    def stay_at(self, at: datetime, *, encounter_id: str | None = None) -> HospitalStay | None:
        """Return the stay that an encounter names, else the one that was going on at a time."""
        named = (s for s in self.stays if s.encounter_id == encounter_id)
        going_on = (s for s in self.stays if s.contains(at))
        return next(named, None) or max(going_on, key=lambda s: s.started_at, default=None)

    def __repr__(self) -> str:
        return "PatientCourse(<redacted>)"


@dataclass(frozen=True, slots=True)
class AfterFilm:
    """What followed a film; `known_at` is when the latest of it was known, None without any."""

    outcomes: tuple[Outcome, ...] = ()
    states_at_film: tuple[str, ...] = ()
    known_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    value: float
    known_at: datetime
    observed_on: date


def after_film(
    course: PatientCourse, film_at: datetime, *, encounter_id: str | None = None, source: str = ""
) -> AfterFilm:
    """Answer every row of the outcome table that the record can answer.

    "No" is an answer only if the window is over and the record covers it: it shows the patient
    alive after the window, or the site states completeness, or, for what happens in hospital only,
    the stay of the film is closed. Everything else is left out: unknown. What was already true at
    the film is a state, and its outcome is not counted.

    Parameters
    ----------
    course
        Of the film's patient.
    film_at
        Aware UTC.
    encounter_id
        Logical id of the film's Encounter, where the record names it.
    source
        Who says so, for each outcome.

    """
    reading = _Reading(course, film_at, course.stay_at(film_at, encounter_id=encounter_id))
    outcomes: list[Outcome] = []
    states: list[str] = []
    known: list[datetime] = []
    for rule in outcome_rules():
        if rule.state is not None and reading.was_true_at_film(rule.event):
            states.append(rule.state)
            continue
        answer = reading.answer(rule)
        if answer is not None:
            outcomes.append(
                Outcome(rule.code, rule.horizon_days, answer.value, answer.observed_on, source)
            )
            known.append(answer.known_at)
    return AfterFilm(tuple(outcomes), tuple(states), max(known, default=None))


@dataclass(frozen=True, slots=True)
class _Reading:
    course: PatientCourse
    film_at: datetime
    stay: HospitalStay | None

    def was_true_at_film(self, event: str | None) -> bool:
        return any(e.event == event and e.contains(self.film_at) for e in self.course.events)

    def answer(self, rule: OutcomeRule) -> _Answer | None:
        died_on = self.course.died_on
        if died_on is not None and died_on < self.film_at.date():
            return None  # a film of someone recorded as dead: one of the two dates is wrong
        if rule.kind == "death":
            return self._death(rule)
        if rule.kind == "event":
            return self._event(rule)
        if rule.kind == "return":
            return self._return(rule)
        return self._of_the_stay(rule)

    def _death(self, rule: OutcomeRule) -> _Answer | None:
        died_on, ends_at = self.course.died_on, self._ends_at(rule, self.film_at)
        if died_on is not None:
            value = YES if died_on <= ends_at.date() else NO
            # That the patient died later is known at the window's end, not only at the death.
            return _answer(value, _end_of(died_on) if value == YES else ends_at)
        return _answer(NO, ends_at) if self._is_covered(ends_at) else None

    def _event(self, rule: OutcomeRule) -> _Answer | None:
        ends_at = self._ends_at(rule, self.film_at)
        after = [
            e.started_at
            for e in self.course.events
            if e.event == rule.event and self.film_at < e.started_at <= ends_at
        ]
        if after:
            return _answer(YES, min(after))
        if rule.event not in self.course.kept_events or ends_at > self.course.read_at:
            return None
        is_covered = self._is_covered(ends_at) or (rule.is_in_hospital and self._is_stay_closed())
        return _answer(NO, ends_at) if is_covered else None

    def _of_the_stay(self, rule: OutcomeRule) -> _Answer | None:
        stay = self.stay
        if stay is None or stay.ended_at is None or stay.ended_at > self.course.read_at:
            return None
        died_on = self.course.died_on
        has_died = stay.has_died_there or (died_on is not None and died_on <= stay.ended_at.date())
        if rule.kind == "stay-death":
            return _answer(YES if has_died else NO, stay.ended_at)
        if has_died:
            return None  # deaths apart: a short stay is not a good one
        days = round((stay.ended_at - stay.started_at) / timedelta(days=1), 1)
        return _answer(days, stay.ended_at)

    def _return(self, rule: OutcomeRule) -> _Answer | None:
        stay = self.stay
        if stay is None or stay.ended_at is None or stay.has_died_there:
            return None
        ends_at = self._ends_at(rule, stay.ended_at)
        again = [s.started_at for s in self.course.stays if stay.ended_at < s.started_at <= ends_at]
        if again:
            return _answer(YES, min(again))
        died_on = self.course.died_on
        if died_on is not None and died_on <= ends_at.date():
            return None  # who died at home could not come back
        return _answer(NO, ends_at) if self._is_covered(ends_at) else None

    def _ends_at(self, rule: OutcomeRule, starts_at: datetime) -> datetime:
        return starts_at + timedelta(days=rule.horizon_days or 0)

    def _is_covered(self, ends_at: datetime) -> bool:
        course = self.course
        if ends_at > course.read_at or course.is_partial:
            return False
        if course.complete_until is not None and ends_at.date() <= course.complete_until:
            return True
        return course.last_contact_at is not None and course.last_contact_at >= ends_at

    def _is_stay_closed(self) -> bool:
        stay = self.stay
        return stay is not None and stay.ended_at is not None and not self.course.is_partial


def _answer(value: float, at: datetime) -> _Answer:
    return _Answer(value, at, at.date())


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.max, tzinfo=UTC).replace(microsecond=0)


def latest(moments: Iterable[datetime | None]) -> datetime | None:
    """Return the latest of the moments that are known, or None."""
    return max((m for m in moments if m is not None), default=None)
