"""What matched cases say, counted in distinct patients, and when nothing is said."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cds.domain import insight
from cds.domain.case import LibraryCase
from cds.domain.coding import Coding
from cds.domain.facts import Finding, Outcome
from cds.domain.picture_gate import GateDistance
from cds.domain.ranking import CompositionOfEligible, Hit, Ranking
from cds.domain.report import Direction

KNOWN = datetime(2024, 5, 1, tzinfo=UTC)
HEART_FAILURE = Coding("Heart failure", "84114007")
PNEUMONIA = Coding("Pneumonia", "233604007")
OPACITY = Coding("Opacity")


def a_hit(number: int, diagnosis: Coding, **changes) -> Hit:
    case = LibraryCase(
        case_id=f"c{number:03d}",
        collection="site",
        patient_key=f"p{number}",
        study_key=f"s{number}",
        known_at=KNOWN,
        film_year=2019 + number % 6,
        findings=(Finding(diagnosis, "clinical", is_diagnosis=True), Finding(OPACITY)),
        **changes,
    )
    return Hit(case, None, 0.9, 0.9, None)


def a_composition(**changes) -> CompositionOfEligible:
    values: dict[str, Any] = {
        "n_patients": 204,
        "n_by_finding": {"84114007": 45, "233604007": 60, "opacity": 100},
        "n_by_collection": {"site": 204},
        "n_by_diagnosis": {"84114007": 45, "233604007": 60},
        "n_diagnosed": 105,
        "displays": {"84114007": "Heart failure", "233604007": "Pneumonia", "opacity": "Opacity"},
    }
    return CompositionOfEligible(**(values | changes))


def a_ranking(hits, **changes) -> Ranking:
    values: dict[str, Any] = {
        "hits": tuple(hits),
        "eligible": a_composition(),
        "best_similarity": 0.9,
        "similarity_limit": 0.58,
        "generation_id": "g",
        "library_name": "lib",
        "n_library_patients": 300,
    }
    return Ranking(**(values | changes))


def thirty_one() -> list[Hit]:
    return [a_hit(i, HEART_FAILURE if i < 12 else PNEUMONIA) for i in range(31)]


def test_finding_statements_of_31_patients_read_as_the_requirement_says():
    statements = insight.finding_statements(
        a_ranking(thirty_one()), eligible_kind="with a portable film", withhold_diagnoses=False
    )
    failure = next(s for s in statements if s.coding == HEART_FAILURE)
    assert failure.sentence == (
        "Of the 31 past patients most like this one, 12 had heart failure recorded "
        "(39 %, interval 24-56 %). Among all 204 eligible past patients with a portable film "
        "it was 22 %. This is not this patient's probability."
    )
    assert failure.direction is Direction.MORE


def test_finding_statements_below_ten_patients_say_nothing():
    assert not insight.finding_statements(
        a_ranking(thirty_one()[:9]), eligible_kind="", withhold_diagnoses=False
    )


def test_finding_statements_under_the_guard_keep_signs_and_drop_diagnoses():
    statements = insight.finding_statements(
        a_ranking(thirty_one()), eligible_kind="x", withhold_diagnoses=True
    )
    assert [s.coding for s in statements] == [OPACITY]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({}, None, id="mixed"),
        pytest.param(
            {"n_by_diagnosis": {"233604007": 140}, "n_patients": 155, "n_diagnosed": 155},
            "mostly pneumonia (140 of 155)",
            id="one-diagnosis-above-half",
        ),
        pytest.param(
            {"n_by_diagnosis": {"233604007": 60, "84114007": 19}, "n_diagnosed": 79},
            "mostly pneumonia (60 of 79)",
            id="fewer-than-20-others",
        ),
    ],
)
def test_composition_guard_withholds_one_sided_libraries(changes, says):
    guard = insight.composition_guard(a_composition(**changes))
    assert (guard is None) if says is None else (says in str(guard))


def test_outcome_statements_need_ten_known_and_count_each_patient_once():
    def outcomes(i):
        return (Outcome("death", 30, float(i < 3)),) if i < 19 else ()

    hits = tuple(a_hit(i, PNEUMONIA, outcomes=outcomes(i)) for i in range(31))
    (statement,) = insight.outcome_statements(hits)
    assert statement.sentence == (
        "Recorded for 19 of these 31 patients: 3 of 19 died within 30 days "
        "(16 %, interval 6-38 %); 12 were not recorded. "
        "Treatment, severity and years (2019-2024) differ. "
        "Do not use as a prognosis."
    )
    assert insight.outcome_statements(hits[:9]) == ()


def test_states_at_film_are_never_outcomes():
    hits = tuple(a_hit(i, PNEUMONIA, states_at_film=("icu",)) for i in range(22))
    assert insight.states_at_film(hits) == (
        "State at the film: 22 of 22 were already in intensive care.",
    )
    assert insight.outcome_statements(hits) == ()


def test_counter_example_is_the_nearest_case_with_another_diagnosis():
    hits = (a_hit(1, PNEUMONIA), a_hit(2, PNEUMONIA), a_hit(3, HEART_FAILURE), a_hit(4, OPACITY))
    assert insight.counter_example(hits) == "c003"
    assert insight.counter_example(hits[:2]) is None
    assert insight.counter_example(()) is None


@pytest.mark.parametrize(("best", "expected"), [(None, False), (0.57, False), (0.58, True)])
def test_is_comparable_needs_the_best_case_at_the_limit(best, expected):
    assert insight.is_comparable(a_ranking([], best_similarity=best)) is expected


def test_absence_of_a_finding_is_named_last_and_never_as_normal():
    nothing = Coding("No acute finding")
    hits = [*(a_hit(n, nothing) for n in range(20)), *(a_hit(20 + n, PNEUMONIA) for n in range(5))]
    statements = insight.finding_statements(
        a_ranking(hits), eligible_kind="x", withhold_diagnoses=False
    )
    assert statements[-1].coding == nothing
    assert statements[-1].sentence.endswith("It does not mean that this film is normal.")
    assert "normal" not in statements[0].sentence


def test_finding_that_is_a_sign_in_one_case_and_a_diagnosis_in_another_is_called_recorded():
    as_sign = [
        replace(hit, case=replace(hit.case, findings=(Finding(PNEUMONIA),)))
        for hit in (a_hit(n, OPACITY) for n in range(15))
    ]
    hits = [*as_sign, *(a_hit(15 + n, PNEUMONIA) for n in range(5))]
    statements = insight.finding_statements(
        a_ranking(hits), eligible_kind="x", withhold_diagnoses=False
    )
    pneumonia = next(s for s in statements if s.coding == PNEUMONIA)
    assert pneumonia.n_with == 20
    assert "20 had pneumonia recorded" in pneumonia.sentence


@pytest.mark.parametrize(("distance", "is_comparable"), [(19.9, True), (20.0, True), (20.1, False)])
def test_picture_beyond_the_gate_is_not_comparable_however_similar_a_case(distance, is_comparable):
    ranking = a_ranking(thirty_one(), picture=GateDistance(distance, 20.0))
    assert insight.has_similar_case(ranking)
    assert insight.is_comparable(ranking) is is_comparable


def test_picture_within_the_gate_still_needs_a_similar_case():
    ranking = a_ranking([], best_similarity=0.5, picture=GateDistance(1.0, 20.0))
    assert not insight.is_comparable(ranking)
