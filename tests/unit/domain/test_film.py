"""Windows around the film: what counts, what does not, and why (CLINICAL 4.1)."""

from datetime import UTC, date, datetime, timedelta

import pytest

from cds.domain.coding import Coding
from cds.domain.dates import PartialDate
from cds.domain.facts import HistoryFlag, Measurement
from cds.domain.film import film_facts
from cds.domain.patient import ClinicalContext, Demographics
from cds.domain.study import StudyRef

FILM_AT = datetime(2026, 11, 12, 6, 41, tzinfo=UTC)
AS_OF = FILM_AT + timedelta(hours=1)
STUDY = StudyRef(study_instance_uid="1.2.3", modality="DX", started_at=FILM_AT)


def a_value(code: str, value: float, unit: str, hours: float) -> Measurement:
    return Measurement(code, value, unit, FILM_AT + timedelta(hours=hours))


def a_context(*measurements: Measurement, **changes) -> ClinicalContext:
    demographics = Demographics("p", birth_on=PartialDate(1959, 3, 14), sex="female")
    return ClinicalContext(demographics, AS_OF, measurements=measurements, **changes)


def values(context: ClinicalContext, as_of: datetime = AS_OF) -> dict[str, float]:
    facts = film_facts(context, STUDY, as_of=as_of).facts
    return {m.code: m.value for m in facts.measurements}


@pytest.mark.parametrize(
    ("code", "unit", "hours", "is_used"),
    [
        pytest.param("59408-5", "%", -1.9, True, id="oxygen-saturation-inside"),
        pytest.param("59408-5", "%", -2.1, False, id="oxygen-saturation-too-early"),
        pytest.param("1988-5", "mg/L", -23.9, True, id="crp-inside"),
        pytest.param("1988-5", "mg/L", -24.1, False, id="crp-too-early"),
        pytest.param("2524-7", "mmol/L", -6.1, False, id="lactate-too-early"),
        pytest.param("1751-7", "g/dL", -160, True, id="albumin-within-a-week"),
    ],
)
def test_value_counts_only_inside_its_own_window(code, unit, hours, is_used):
    used = values(a_context(a_value(code, 95.0, unit, hours)))
    assert (code in used) is is_used


def test_value_after_as_of_is_not_used():
    late = a_value("1988-5", 80.0, "mg/L", 2)
    assert "1988-5" not in values(a_context(late), as_of=FILM_AT + timedelta(hours=1))
    assert values(a_context(late), as_of=FILM_AT + timedelta(hours=3)) == {"1988-5": 80.0}


def test_nearest_value_before_the_film_wins_over_a_nearer_one_after_it():
    before, after = a_value("1988-5", 10.0, "mg/L", -5), a_value("1988-5", 90.0, "mg/L", 0.5)
    older = a_value("1988-5", 5.0, "mg/L", -20)
    assert values(a_context(older, after, before)) == {"1988-5": 10.0}


def test_missing_value_is_named_with_the_window_and_the_nearest():
    film = film_facts(a_context(a_value("2524-7", 4.0, "mmol/L", -30)), STUDY, as_of=AS_OF)
    assert "Lactate (none within 6 h of the film; nearest value 30 h before)" in film.missing
    assert "NT-proBNP (none)" in film.missing


def test_age_is_taken_at_the_film_and_a_partial_birth_date_gives_none():
    assert film_facts(a_context(), STUDY, as_of=AS_OF).facts.age_years == 67
    partial = ClinicalContext(Demographics("p", birth_on=PartialDate(1959)), AS_OF)
    film = film_facts(partial, STUDY, as_of=AS_OF)
    assert film.facts.age_years is None
    assert "age (no full birth date)" in film.missing


def test_history_recorded_on_or_after_the_day_of_the_film_is_not_history():
    flags = tuple(
        HistoryFlag(Coding(name), on)
        for name, on in [
            ("before", date(2026, 11, 11)),
            ("same day", date(2026, 11, 12)),
            ("after", date(2026, 11, 20)),
            ("undated", None),
        ]
    )
    film = film_facts(a_context(history=flags), STUDY, as_of=AS_OF)
    assert [flag.coding.display for flag in film.history] == ["before"]


def test_film_facts_without_a_record_say_so():
    film = film_facts(None, None, as_of=AS_OF)
    assert film.missing == ("record (none given)",)
    assert film.used == ()


def test_used_value_is_named_with_the_unit_that_a_person_writes():
    film = film_facts(
        a_context(a_value("8310-5", 36.6, "Cel", -1), a_value("6690-2", 8.4, "10*3/uL", -1)),
        STUDY,
        as_of=AS_OF,
    )
    named = " ".join(film.used)
    assert "36.6 \N{DEGREE SIGN}C" in named
    assert "8.4 10\N{SUPERSCRIPT THREE}/\N{MICRO SIGN}L" in named
