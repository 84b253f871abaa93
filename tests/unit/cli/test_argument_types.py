"""What argument types take, and the sentence where they do not."""

from argparse import ArgumentTypeError
from datetime import date

import pytest

from cds.cli.argument_types import at_least_one, day, listening_address


def test_at_least_one_when_a_number_is_written_reads_it() -> None:
    assert at_least_one("31") == 31


@pytest.mark.parametrize("text", ["0", "-4", "1.5", "many", ""])
def test_at_least_one_when_it_is_none_says_what_it_has_to_be(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="whole number of at least 1"):
        at_least_one(text)


def test_day_when_a_date_is_written_reads_it() -> None:
    assert day("2026-01-31") == date(2026, 1, 31)


@pytest.mark.parametrize("text", ["2026-13-01", "31.1.2026", ""])
def test_day_when_it_is_none_says_how_a_date_looks(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="date such as 2026-01-31"):
        day(text)


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "[::1]:8000", "unix:/run/precedent.sock"])
def test_listening_address_when_gunicorn_knows_it_is_taken(text: str) -> None:
    assert listening_address(text) == text


@pytest.mark.parametrize("text", ["nonsense", "127.0.0.1:99999", "127.0.0.1:0", ":8000", ""])
def test_listening_address_when_it_is_none_says_how_one_looks(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"address such as 127\.0\.0\.1:8000"):
        listening_address(text)
