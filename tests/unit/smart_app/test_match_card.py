"""One matched case as a card."""

from __future__ import annotations

import pytest

from cds.domain.coding import Coding
from cds.domain.facts import Finding, SharedFact
from smart_app.pages.match_card import bar_of, match_card
from tests.builders.case_report import a_neighbor


@pytest.mark.parametrize(
    ("proof", "text"),
    [
        ("histology", "proved by histology"),
        ("report", "by report only"),
        ("unknown", "how it was confirmed is not recorded"),
    ],
)
def test_card_says_how_the_diagnosis_was_confirmed(proof: str, text: str) -> None:
    finding = Finding(Coding("Sarcoidosis", "31541009"), proof=proof, is_diagnosis=True)
    card = match_card(a_neighbor(findings=(finding,)))
    assert (card.diagnosis, card.proof) == ("Sarcoidosis", text)


def test_card_of_a_case_without_facts_says_not_recorded() -> None:
    card = match_card(a_neighbor(findings=(), film_year=None, view="other", shared=()))
    assert card.diagnosis == "Diagnosis not recorded"
    assert card.film == "view not recorded, year not recorded"
    assert card.rows == ()


def test_shared_values_are_flagged_against_the_reference_range() -> None:
    facts = (
        SharedFact("C-reactive protein", "mg/L", 38.0, 1.0, 0.2),
        SharedFact("Oxygen saturation", "%", 89.0, 97.0, 0.2),
        SharedFact("Not in the catalogue", "1", 5.0, 5.0, 0.0),
    )
    rows = match_card(a_neighbor(shared=facts)).rows
    assert [(r.query_flag, r.case_flag) for r in rows] == [("above", ""), ("below", ""), ("", "")]


def test_shared_values_beyond_six_are_folded() -> None:
    facts = tuple(SharedFact(f"value {i}", "1", i, i, 0.1) for i in range(9))
    card = match_card(a_neighbor(shared=facts))
    assert (len(card.rows), len(card.more_rows)) == (6, 3)


@pytest.mark.parametrize(
    ("similarity", "text", "length"),
    [(1.0, "1.00", 100.0), (-0.2, "-0.20", 0.0), (1.004, "1.00", 100.0), (None, "not compared", 0)],
)
def test_bar_stays_within_its_track(similarity: float | None, text: str, length: float) -> None:
    bar = bar_of("Picture", similarity)
    assert (bar.text, bar.length) == (text, length)
