"""One patient's outcome reads as one patient's, and no horizon is said twice."""

import pytest

from cds.domain.outcome_terms import event_phrase, event_phrase_of_one


@pytest.mark.parametrize(
    ("code", "days", "several", "one"),
    [
        ("icu-admission", 7, "were admitted to intensive care within 7 days", "was admitted"),
        ("home-same-day", 1, "went home the same day", "went home the same day"),
        ("death", 1, "died within 1 day", "died within 1 day"),
        ("histology-small-cell", None, "had small cell carcinoma on histology", "had small cell"),
    ],
)
def test_event_when_told_of_one_patient_is_in_the_singular(code, days, several, one):
    assert event_phrase(code, days) == several
    assert event_phrase_of_one(code, days).startswith(one)
