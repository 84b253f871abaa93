"""Each anti-leak rule of the synthetic hospital, on the table that it generates."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cds.domain.facts import Measurement
from cds.domain.lab_catalogue import catalogue_row, normalise
from sandbox.generator.audit import leaks
from sandbox.generator.conditions import conditions
from sandbox.generator.labs import tested_share as ordered_share
from sandbox.generator.library import COLUMNS, DEFAULT_SEED, table_row, write_table
from sandbox.generator.parameters import parameters
from sandbox.generator.patients import CaseRecord, draw_cases

Cases = tuple[CaseRecord, ...]
ISO = "%Y-%m-%dT%H:%M:%SZ"


@pytest.fixture(scope="module")
def cases() -> Cases:
    return draw_cases(DEFAULT_SEED)


@pytest.fixture(scope="module")
def many() -> Cases:
    return draw_cases(7, n=3000)


def _share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def test_case_counts_when_whole_library_match_the_table(cases: Cases) -> None:
    counts = Counter(c.condition_key for c in cases)
    assert counts == {key: c.n_cases for key, c in conditions().items()}
    assert sum(counts.values()) == 620


def test_free_air_when_counted_is_three_patients(cases: Cases) -> None:
    assert len({c.person for c in cases if c.condition_key == "free_air"}) == 3


def test_draw_when_seed_is_the_same_repeats_exactly() -> None:
    assert draw_cases(3, n=40) == draw_cases(3, n=40)
    assert draw_cases(3, n=40) != draw_cases(4, n=40)


@pytest.mark.parametrize(
    "panel", ["procalcitonin", "nt_probnp", "blood_gas", "cd4", "ace", "d_dimer", "calcium"]
)
def test_ordered_labs_when_counted_by_condition_follow_the_shares(many: Cases, panel: str) -> None:
    codes = {code for code, row in parameters("labs")["lab"].items() if row["panel"] == panel}
    codes |= {v[0] for k, v in parameters("labs")["site_b"].items() if k in codes}
    seen: dict[int, list[bool]] = defaultdict(list)
    for case in many:
        if case.part != "embolism":
            number = conditions()[case.condition_key].number
            seen[number].append(any(lab.loinc in codes for lab in case.labs))
    for number, flags in seen.items():
        expected = ordered_share(panel, number)
        spread = 4.0 * np.sqrt(max(expected * (1 - expected), 0.01) / len(flags)) + 0.04
        assert abs(_share(flags) - expected) < spread, (panel, number)


def test_every_lab_when_counted_exists_in_several_look_alike_groups(many: Cases) -> None:
    groups: dict[str, set[str]] = defaultdict(set)
    for case in many:
        for lab in case.labs:
            row = catalogue_row(lab.loinc)
            groups[row.code if row else lab.loinc].add(conditions()[case.condition_key].group)
    del groups["3150-6"]  # inhaled oxygen of the ventilated: only they have it, and they are few
    assert min(len(g - {"+"}) for g in groups.values()) >= 3


def test_common_panel_when_counted_is_taken_in_85_to_95_percent(cases: Cases) -> None:
    for code in ("8310-5", "6690-2", "718-7", "777-3", "1988-5", "2951-2"):
        assert 0.83 < _share([any(lab.loinc == code for lab in c.labs) for c in cases]) < 0.97, code


def test_missing_pattern_when_used_alone_retrieves_far_less_than_labs(cases: Cases) -> None:
    mask, labs = leaks(cases)
    assert mask.precision_at_5 < 0.30
    assert labs.precision_at_5 > mask.precision_at_5 + 0.10
    assert labs.precision_at_5 < 0.60


def test_comorbidities_when_condition_does_not_raise_them_occur_at_age_correct_rates(
    many: Cases,
) -> None:
    old = [
        c
        for c in many
        if c.age_years >= 65 and c.condition_key in {"pneumonia", "lung_cancer", "effusion"}
    ]
    young = [c for c in many if c.age_years < 45]
    has = [any(h.key == "hypertension" for h in c.history) for c in old]
    assert 0.40 < _share(has) < 0.70
    assert _share([any(h.key == "hypertension" for h in c.history) for c in young]) < 0.30


def test_raised_flags_when_listed_reach_their_share(many: Cases) -> None:
    chosen = [c for c in many if c.condition_key == "heart_failure"]
    assert (
        abs(_share([any(h.key == "heart_failure" for h in c.history) for c in chosen]) - 0.60)
        < 0.08
    )
    chosen = [c for c in many if c.condition_key == "tuberculosis"]
    assert (
        abs(_share([any(h.key == "night_sweats" for h in c.history) for c in chosen]) - 0.55) < 0.15
    )


@pytest.mark.parametrize(
    ("key", "share"),
    [
        ("ards", 1.0),
        ("heart_failure", 0.55),
        ("pneumonia", 0.40),
        ("effusion", 0.25),
        ("copd", 0.20),
    ],
)
def test_view_when_counted_is_ap_as_often_as_the_table_says(
    many: Cases, key: str, share: float
) -> None:
    flags = [c.view == "AP" for c in many if c.condition_key == key]
    assert abs(_share(flags) - share) <= 4.0 * np.sqrt(share * (1 - share) / len(flags))


def test_devices_when_counted_follow_ward_and_view_only(many: Cases) -> None:
    tubes = {"tracheal_tube", "central_line", "gastric_tube"}

    def share(key: str) -> float:
        return _share([bool(tubes & set(c.plan.devices)) for c in many if c.condition_key == key])

    assert abs(share("ards") - 0.95) < 0.08
    assert abs(share("heart_failure") - 0.15) < 0.06
    assert abs(share("no_acute_finding") - 0.10) < 0.04
    leads = [("ecg_leads" in c.plan.devices) for c in many if c.view == "AP"]
    assert abs(_share(leads) - 0.30) < 0.05
    assert not any("ecg_leads" in c.plan.devices for c in many if c.view == "PA")


def test_build_and_technique_when_compared_by_group_do_not_differ(many: Cases) -> None:
    for value in (
        lambda c: c.plan.habitus.wall,
        lambda c: c.plan.technique.exposure,
        lambda c: abs(c.plan.tilt_deg),
        lambda c: c.plan.posture.diaphragm_mm[0],
    ):
        groups = {
            g: [value(c) for c in many if conditions()[c.condition_key].group == g] for g in "ABCD"
        }
        everything = np.concatenate([np.array(v) for v in groups.values()])
        for values in groups.values():
            apart = abs(np.mean(values) - everything.mean()) / (
                everything.std() / np.sqrt(len(values))
            )
            assert apart < 4.5


def test_dates_when_read_lie_in_2019_to_2025_and_covid_from_march_2020(cases: Cases) -> None:
    assert {c.film_at.year for c in cases} <= set(range(2019, 2026))
    assert min(c.film_at for c in cases if c.condition_key == "covid") >= datetime(
        2020, 3, 1, tzinfo=UTC
    )


def test_diagnosis_when_recorded_is_always_after_the_film(cases: Cases) -> None:
    assert all(c.diagnosis.recorded_at > c.film_at for c in cases)
    last: dict[int, datetime] = {}
    for case in cases:
        last[case.person] = max(case.film_at, last.get(case.person, case.film_at))
    assert all(c.diagnosis.recorded_at > last[c.person] - timedelta(minutes=10) for c in cases)


def test_outcomes_when_read_are_after_the_film_and_known_at_is_later_still(cases: Cases) -> None:
    for case in cases:
        assert all(item.observed_on >= case.film_at.date() for item in case.outcomes)
        assert all(item.observed_on <= case.known_at.date() for item in case.outcomes)
        assert case.known_at >= case.diagnosis.recorded_at
        assert all(item.observed_on <= date(2026, 6, 30) for item in case.outcomes)


def test_state_at_film_when_true_is_never_an_outcome(many: Cases) -> None:
    for case in many:
        codes = {item.code for item in case.outcomes}
        assert not ("icu" in case.state_at_film and "icu-admission" in codes)
        assert not ("ventilated" in case.state_at_film and "ventilation" in codes)
        assert not ("oxygen" in case.state_at_film and "oxygen" in codes)
    assert any("icu" in c.state_at_film for c in many)
    assert any(item.code == "icu-admission" for c in many for item in c.outcomes)


def test_length_of_stay_when_patient_died_is_absent(many: Cases) -> None:
    for case in many:
        died = any(i.code in {"death", "in-hospital-death"} and i.value for i in case.outcomes)
        assert not (died and any(i.code == "length-of-stay" for i in case.outcomes))


def test_wrong_labels_when_counted_are_five_percent_within_the_group(many: Cases) -> None:
    assert abs(_share([c.is_wrong_label for c in many]) - 0.05) < 0.015
    groups = {c.display: c.group for c in conditions().values()}
    for case in many:
        if case.is_wrong_label:
            assert groups[case.diagnosis.display] == conditions()[case.condition_key].group


def test_report_only_when_counted_is_ten_percent(many: Cases) -> None:
    assert abs(_share([c.diagnosis.proof == "report" for c in many]) - 0.10) < 0.02


def test_series_when_counted_are_eight_percent_of_people_with_two_to_five_films(
    many: Cases,
) -> None:
    films = Counter(c.person for c in many if not c.near_duplicate_of)
    assert abs(_share([n > 1 for n in films.values()]) - 0.08) < 0.02
    assert max(films.values()) <= 5


def test_near_duplicates_when_counted_are_two_percent_under_old_and_new_numbers(
    cases: Cases,
) -> None:
    copies = [c for c in cases if c.near_duplicate_of]
    assert 0.015 <= len(copies) / len(cases) <= 0.025
    numbers = {c.case_number: c.patient_number for c in cases}
    same = [numbers[c.near_duplicate_of] == c.patient_number for c in copies]
    assert any(same)
    assert not all(same)


def test_people_when_counted_by_number_five_have_two(cases: Cases) -> None:
    numbers: dict[int, set[str]] = defaultdict(set)
    for case in cases:
        if not case.near_duplicate_of:
            numbers[case.person].add(case.patient_number)
    assert sum(len(v) == 2 for v in numbers.values()) == 5
    assert max(len(v) for v in numbers.values()) == 2


def test_numbers_when_sorted_do_not_tell_the_condition(cases: Cases) -> None:
    ordered = sorted(cases, key=lambda c: c.patient_number)
    runs = sum(
        a.condition_key == b.condition_key for a, b in pairwise(ordered) if a.person != b.person
    )
    assert runs / len(ordered) < 0.18
    neighbours = sum(a.condition_key == b.condition_key for a, b in pairwise(cases))
    assert neighbours / len(cases) < 0.18


def test_site_b_when_counted_is_fifteen_percent_in_every_group(many: Cases) -> None:
    for group in "ABCD":
        flags = [c.is_site_b for c in many if conditions()[c.condition_key].group == group]
        assert abs(_share(flags) - 0.15) < 0.05
    framed = [c.plan.technique.border_px > 0 for c in many if c.is_site_b]
    assert all(framed)
    assert not any(c.plan.technique.border_px for c in many if not c.is_site_b)


def test_site_b_units_when_read_are_molar(cases: Cases) -> None:
    units = {lab.loinc: lab.unit for c in cases if c.is_site_b for lab in c.labs}
    assert units["14682-9"] == "umol/L"
    assert units["22664-7"] == "mmol/L"
    assert "2160-0" not in units
    assert {
        lab.unit for c in cases if not c.is_site_b for lab in c.labs if lab.loinc == "2160-0"
    } == {"mg/dL"}


def test_labs_when_given_to_the_products_catalogue_are_all_understood(cases: Cases) -> None:
    for case in cases:
        for lab in case.labs:
            read = normalise(lab.loinc, lab.value, lab.unit, observed_at=lab.observed_at)
            assert isinstance(read, Measurement), (lab.text(), read)


def test_creatinine_when_converted_from_site_b_agrees_with_site_a(many: Cases) -> None:
    medians = []
    for at_b in (False, True):
        values = [
            normalise(lab.loinc, lab.value, lab.unit)
            for c in many
            if c.is_site_b is at_b
            for lab in c.labs
            if lab.loinc in {"2160-0", "14682-9"}
        ]
        medians.append(np.median([v.value for v in values if isinstance(v, Measurement)]))
    assert medians[0] == pytest.approx(medians[1], rel=0.1)


def test_lab_times_when_read_lie_in_the_windows(cases: Cases) -> None:
    for case in cases:
        for lab in case.labs:
            row = catalogue_row(lab.loinc)
            assert row is not None
            hours = (lab.observed_at - case.film_at).total_seconds() / 3600
            slack = 0.1 if not case.near_duplicate_of else 0.2
            assert -row.window_before_h - slack <= hours <= row.window_after_h + slack, lab.text()


def test_oxygenation_when_ards_meets_its_definition(many: Cases) -> None:
    ratios = []
    for case in many:
        values = {lab.loinc: lab.value for lab in case.labs}
        if case.condition_key == "ards" and {"2703-7", "3150-6"} <= values.keys():
            ratios.append(values["2703-7"] / (values["3150-6"] / 100))
    assert len(ratios) > 20
    assert max(ratios) <= 300
    assert 85 < np.median(ratios) < 150


def test_correlated_labs_when_drawn_move_together(many: Cases) -> None:
    pairs = []
    for case in many:
        values = {lab.loinc: lab.value for lab in case.labs}
        if case.condition_key == "pneumonia" and {"6690-2", "751-8"} <= values.keys():
            pairs.append((values["6690-2"], values["751-8"]))
    assert np.corrcoef(np.log(np.array(pairs) + 0.1).T)[0, 1] > 0.8


def test_medians_when_many_are_drawn_match_the_table(many: Cases) -> None:
    for code, key, median in (
        ("1988-5", "pneumonia", 165),
        ("33762-6", "heart_failure", 5600),
        ("718-7", "no_acute_finding", 13.9),
    ):
        values = []
        for case in many:
            if case.condition_key == key:
                values += [
                    v.value
                    for v in (
                        normalise(m.loinc, m.value, m.unit) for m in case.labs if m.loinc == code
                    )
                    if isinstance(v, Measurement)
                ]
        assert np.median(values) == pytest.approx(median, rel=0.2), code


def test_history_when_recorded_after_the_film_is_planted_in_the_table(cases: Cases) -> None:
    planted = 0
    for case in cases:
        row = table_row(case)
        for item in filter(None, row["history"].split(";")):
            text, recorded = item.rsplit("@", 1)
            planted += datetime.strptime(recorded, ISO).replace(tzinfo=UTC) > case.film_at
            assert text.count("|") == 2
    assert planted > 400  # nearly every coded diagnosis, and some flags


def test_cells_when_written_follow_the_contract(tmp_path: Path, cases: Cases) -> None:
    write_table(tmp_path, cases)
    mapping = tomllib.loads((tmp_path / "map.toml").read_text(encoding="utf-8"))
    with (tmp_path / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert mapping["columns"] == COLUMNS
    assert list(rows[0]) == list(COLUMNS.values())
    assert len({row["case_id"] for row in rows}) == len(rows) == 620
    for row in rows:
        assert row["diagnosis"].count("|") == 2
        assert row["proof"] in {"histology", "culture", "clinical", "report"}
        assert row["sex"] in {"male", "female"}
        assert not set(row["report_text"]) & set(";|@")
        for item in filter(None, row["labs"].split(";")):
            code, rest = item.split("=", 1)
            value, rest = rest.split(" ", 1)
            assert catalogue_row(code) is not None
            assert np.isfinite(float(value))
            assert rest.count("@") == 1
        for item in filter(None, row["outcomes"].split(";")):
            assert len(item.split(":")) == 4


def test_contract_page_when_read_names_every_column_and_outcome(cases: Cases) -> None:
    page = (Path(__file__).parents[3] / "sandbox" / "parameters" / "library_columns.md").read_text(
        encoding="utf-8"
    )
    for field, column in COLUMNS.items():
        assert f"| {field} | `{column}` |" in page
    for code in {item.code for c in cases for item in c.outcomes}:
        assert f"`{code}`" in page, code
