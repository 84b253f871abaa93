from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.domain.facts import Measurement, SetAside
from cds.library.coded_cells import (
    UnreadableItemError,
    coding_from_text,
    day_from_text,
    history_from_text,
    items,
    measurement_from_text,
    moment_from_text,
    outcome_from_text,
)

SYSTEMS = {"sct": "http://snomed.info/sct"}


def test_items_when_cell_is_empty_are_none() -> None:
    assert items(" ; ;") == ()


def test_coding_when_system_is_a_uri_keeps_it() -> None:
    coding = coding_from_text("http://loinc.org|1988-5|CRP", SYSTEMS)
    assert (coding.system, coding.code) == ("http://loinc.org", "1988-5")


@pytest.mark.parametrize("text", ["", "a|b", "sct|123|", "a|b|c|d"])
def test_coding_when_malformed_is_refused(text: str) -> None:
    with pytest.raises(UnreadableItemError):
        coding_from_text(text, SYSTEMS)


def test_history_when_dated_keeps_the_utc_day() -> None:
    flag = history_from_text("sct|13645005|COPD@2019-02-03T23:30:00-05:00", SYSTEMS)
    assert flag.recorded_on == date(2019, 2, 4)


def test_measurement_when_unit_is_molar_is_converted() -> None:
    result = measurement_from_text("2160-0=97 umol/L@2023-04-11T05:40:00Z")
    assert isinstance(result, Measurement)
    assert result.unit == "mg/dL"
    assert result.value == pytest.approx(1.097, abs=0.01)


@pytest.mark.parametrize("text", ["1988-5=1e9 mg/L", "1988-5=12", "0-0=1 mg/L"])
def test_measurement_when_it_cannot_be_used_is_set_aside(text: str) -> None:
    assert isinstance(measurement_from_text(text), SetAside)


@pytest.mark.parametrize("text", ["1988-5", "1988-5=high mg/L", "=1 mg/L", "1988-5=1-2 mg/L"])
def test_measurement_when_malformed_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(UnreadableItemError, match=r"^measurement not understood$"):
        measurement_from_text(text)


@pytest.mark.parametrize("text", ["2023-04-11", "2023-04-11T06:52:00", "yesterday", ""])
def test_moment_when_it_has_no_zone_is_refused(text: str) -> None:
    with pytest.raises(UnreadableItemError):
        moment_from_text(text)


@given(
    code=st.sampled_from(["death", "length-of-stay"]),
    horizon=st.one_of(st.none(), st.integers(1, 800)),
    value=st.floats(0, 400),
    day=st.one_of(st.none(), st.dates()),
)
def test_outcome_when_written_and_read_is_itself(
    code: str, horizon: int | None, value: float, day: date | None
) -> None:
    text = f"{code}:{horizon or ''}:{value!r}:{day or ''}"
    outcome = outcome_from_text(text, "t")
    assert (outcome.code, outcome.horizon_days) == (code, horizon)
    assert (outcome.value, outcome.observed_on) == (value, day)


@pytest.mark.parametrize("text", ["death", "death:30", "death:30:maybe", ":30:yes", "a:b:yes"])
def test_outcome_when_malformed_is_refused(text: str) -> None:
    with pytest.raises(UnreadableItemError):
        outcome_from_text(text, "t")


def test_day_when_plain_or_with_time_is_read() -> None:
    assert day_from_text("2023-04-11") == day_from_text("2023-04-11T10:00:00Z")
