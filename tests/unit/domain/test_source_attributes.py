"""The card of 31 attributes: the regulation's list, and nothing left out."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cds.domain.source_attributes import (
    NOT_AVAILABLE,
    SOURCE_ATTRIBUTE_KEYS,
    SOURCE_ATTRIBUTES,
    SourceAttributeCard,
    Statement,
    attribute_table,
)

# Transcribed from 45 CFR 170.315(b)(11)(iv)(B) as of 89 FR 1192, apart from the code.
REGULATION_LIST = Path(__file__).resolve().parents[2] / "hti1_source_attributes.csv"
SIZES = {"1": 4, "2": 4, "3": 2, "4": 4, "5": 2, "6": 4, "7": 5, "8": 4, "9": 2}


def a_card(**statements: str) -> SourceAttributeCard:
    unknown = dict.fromkeys(SOURCE_ATTRIBUTE_KEYS, Statement(reason="Nobody knows."))
    given = {key.replace("_", "."): Statement(value=text) for key, text in statements.items()}
    return SourceAttributeCard("toy", "ab" * 32, "2026-11-27", unknown | given)


@pytest.mark.requirement("DSI-SOURCE-ATTRIBUTES")
def test_attributes_when_compared_with_the_regulation_are_its_list_word_for_word() -> None:
    with REGULATION_LIST.open(encoding="utf-8", newline="") as file:
        listed = [(row["key"], row["wording"]) for row in csv.DictReader(file)]

    assert [(one.key, one.wording) for one in SOURCE_ATTRIBUTES] == listed
    assert len(listed) == 31


def test_attributes_when_counted_by_paragraph_have_the_regulations_nine_sizes() -> None:
    numbers = [key.partition(".")[0] for key in SOURCE_ATTRIBUTE_KEYS]
    assert {number: numbers.count(number) for number in numbers} == SIZES


def test_card_when_an_attribute_is_missing_does_not_construct() -> None:
    statements = dict(a_card().statements)
    del statements["7.v"]
    with pytest.raises(ValueError, match=r"7\.v"):
        SourceAttributeCard("toy", "ab", None, statements)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, None), ("A text.", "A reason."), (" ", None), (None, "")],
    ids=["neither", "both", "blank-value", "blank-reason"],
)
def test_statement_when_it_says_nothing_or_both_does_not_construct(
    value: str | None, reason: str | None
) -> None:
    with pytest.raises(ValueError, match="either a value or a reason"):
        Statement(value, reason)


def test_json_when_little_is_known_lists_all_attributes_with_reasons() -> None:
    served = a_card(**{"2_i": "Finding cases."}).to_json()

    assert [one["key"] for one in served["attributes"]] == list(SOURCE_ATTRIBUTE_KEYS)
    assert (served["n_attributes"], served["n_available"]) == (31, 1)
    by_key = {one["key"]: one for one in served["attributes"]}
    assert by_key["2.i"]["value"] == "Finding cases."
    assert by_key["7.v"]["value"] == NOT_AVAILABLE
    assert by_key["7.v"]["reason_not_available"] == "Nobody knows."
    assert by_key["9.ii"]["citation"] == "45 CFR 170.315(b)(11)(iv)(B)(9)(ii)"


def test_card_when_the_encoder_has_none_says_not_available_everywhere() -> None:
    card = SourceAttributeCard.of_unknown("toy", "ab" * 32)
    assert card.n_available == 0
    assert all(text.startswith(NOT_AVAILABLE) for text in (s.text for _, s in card.rows()))


def test_table_when_a_text_has_lines_and_bars_keeps_one_row_per_attribute() -> None:
    table = attribute_table(a_card(**{"7_i": "A | B\nC"}).statements)
    lines = table.splitlines()
    assert len(lines) == 2 + 31
    assert "| A \\| B<br>C |" in table
