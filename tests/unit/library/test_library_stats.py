from cds.domain.coding import Coding
from cds.domain.facts import Finding
from cds.library.library_stats import NOT_STATED, library_stats
from tests.builders.library import a_case


def test_stats_when_a_patient_has_two_cases_count_the_patient_once() -> None:
    cases = [a_case("1", patient_key="p"), a_case("2", patient_key="p"), a_case("3")]
    stats = library_stats(cases, quarantined={"empty": 2})
    assert (stats.n_cases, stats.n_patients, stats.n_pictures) == (3, 2, 3)
    assert stats.n_patients_by_diagnosis == {"Pneumonia": 2}
    assert stats.n_patients_by_finding == {"Left-sided opacity": 2}
    assert stats.n_patients_by_measurement == {"C-reactive protein": 2}
    assert stats.n_patients_by_outcome == {"death (30 d)": 2}
    assert stats.quarantined == {"empty": 2}


def test_stats_when_values_are_missing_say_so() -> None:
    case = a_case(findings=(Finding(Coding("Opacity")),), modality=None, licence="", film_year=None)
    stats = library_stats([case], quarantined={})
    assert stats.n_patients_by_diagnosis == {NOT_STATED: 1}
    assert stats.n_patients_by_modality == {NOT_STATED: 1}
    assert stats.film_years is None


def test_stats_when_library_is_empty_are_zero() -> None:
    stats = library_stats([], quarantined={})
    assert stats.n_cases == stats.n_patients == stats.n_pictures == 0
