"""The record block: what is missing never makes two patients alike."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cds.domain.facts import Measurement, PatientFacts
from cds.domain.lab_catalogue import catalogue
from models.patient_features import CataloguePatientFeatures

FEATURES = CataloguePatientFeatures()
ROWS = [row for row in catalogue() if row.weight > 0]


@st.composite
def facts(draw) -> PatientFacts:
    chosen = draw(st.lists(st.sampled_from(range(len(ROWS))), unique=True, max_size=len(ROWS)))
    measurements = tuple(
        Measurement(ROWS[i].code, draw(st.floats(*ROWS[i].plausible)), ROWS[i].unit) for i in chosen
    )
    age = draw(st.one_of(st.none(), st.integers(18, 100)))
    return PatientFacts(age, draw(st.sampled_from(["male", "female", "unknown"])), measurements)


def similarity(a: PatientFacts, b: PatientFacts) -> float:
    left, right = FEATURES.vector(a), FEATURES.vector(b)
    return 0.0 if left is None or right is None else float(left @ right)


def without(side: PatientFacts, codes: set[str]) -> PatientFacts:
    kept = tuple(m for m in side.measurements if m.code not in codes)
    return PatientFacts(side.age_years, side.sex, kept)


@given(facts(), facts())
def test_similarity_of_any_two_records_lies_in_zero_one_and_is_symmetric(a, b):
    assert -1e-6 <= similarity(a, b) <= 1.0 + 1e-5
    assert np.isclose(similarity(a, b), similarity(b, a), atol=1e-6)


@given(facts(), facts(), st.sets(st.sampled_from([row.code for row in ROWS])))
def test_masking_the_same_values_on_both_sides_never_raises_the_similarity(a, b, codes):
    assert similarity(without(a, codes), without(b, codes)) <= similarity(a, b) + 1e-6


@given(facts())
def test_no_other_record_is_more_similar_than_the_same_record(a):
    other = PatientFacts(a.age_years, a.sex, ())
    assert similarity(a, a) >= similarity(a, other) - 1e-6


@given(facts(), facts())
def test_shared_facts_name_only_what_both_have_and_one_side_has_abnormal(a, b):
    rows = {row.display: row for row in ROWS}
    codes = {m.code for m in a.measurements} & {m.code for m in b.measurements}
    for fact in FEATURES.shared(a, b):
        row = rows[fact.display]
        assert row.code in codes
        assert row.is_abnormal(fact.query_value) or row.is_abnormal(fact.case_value)


@given(facts(), facts())
def test_similarity_is_at_most_the_share_of_the_block_that_both_have(a, b):
    shared = float(FEATURES.presence(a) @ FEATURES.presence(b))
    assert similarity(a, b) <= shared + 1e-5
