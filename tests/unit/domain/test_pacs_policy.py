from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cds.domain.pacs_policy import DailyWindow, PacsPolicy

# 2026-01-05 is a Monday.
MONDAY_NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "weekdays"),
    [
        ("07:00-19:00", tuple(range(7))),
        ("mon-fri 07:00-19:00", (0, 1, 2, 3, 4)),
        ("Fri-Mon 07:00-19:00", (0, 4, 5, 6)),
        ("sat,sun 00:00-00:00", (5, 6)),
        ("mon,wed-thu 07:00-19:00", (0, 2, 3)),
    ],
)
def test_window_when_written_is_read_and_written_again(
    text: str, weekdays: tuple[int, ...]
) -> None:
    window = DailyWindow.from_text(text)
    assert window.weekdays == weekdays
    assert DailyWindow.from_text(str(window)) == window


@pytest.mark.parametrize("text", ["", "7-19", "07:00", "25:00-26:00", "mo-fr 07:00-19:00", "x"])
def test_window_when_misspelt_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"written like|hour|list"):
        DailyWindow.from_text(text)


@pytest.mark.parametrize(
    ("text", "moment", "ends"),
    [
        ("07:00-19:00", (5, 6, 59), None),
        ("07:00-19:00", (5, 7, 0), (5, 19, 0)),
        ("07:00-19:00", (5, 19, 0), None),
        ("22:00-06:00", (5, 23, 0), (6, 6, 0)),
        ("22:00-06:00", (6, 5, 59), (6, 6, 0)),
        ("fri 22:00-06:00", (5, 23, 0), None),
        ("sun 22:00-06:00", (5, 1, 0), (5, 6, 0)),
        ("mon 00:00-00:00", (5, 0, 0), (6, 0, 0)),
        ("mon 00:00-00:00", (6, 0, 0), None),
    ],
)
def test_window_when_asked_says_when_it_ends(
    text: str, moment: tuple[int, int, int], ends: tuple[int, int, int] | None
) -> None:
    found = DailyWindow.from_text(text).ends_at(datetime(2026, 1, *moment, tzinfo=UTC))
    assert found == (None if ends is None else datetime(2026, 1, *ends, tzinfo=UTC))


def test_bulk_when_paused_by_day_resumes_in_the_evening_of_the_pacs() -> None:
    policy = PacsPolicy(bulk_pauses=("07:00-19:00",), time_zone="Europe/Berlin")
    # 13:00 in Berlin, the EHR's own zone does not count
    resumes_at = policy.bulk_resumes_at(MONDAY_NOON, time_zone="America/New_York")
    assert resumes_at == datetime(2026, 1, 5, 18, 0, tzinfo=UTC)


def test_bulk_when_the_policy_names_no_zone_pauses_in_the_ehrs() -> None:
    policy = PacsPolicy(bulk_pauses=("07:00-19:00",))
    assert policy.bulk_resumes_at(MONDAY_NOON, time_zone="Asia/Tokyo") is None  # 21:00 there


def test_bulk_when_windows_overlap_resumes_after_the_last() -> None:
    policy = PacsPolicy(bulk_pauses=("07:00-19:00", "mon 12:00-23:00"))
    assert policy.bulk_resumes_at(MONDAY_NOON, time_zone="UTC") == datetime(
        2026, 1, 5, 23, tzinfo=UTC
    )


def test_bulk_when_the_clocks_are_put_forward_resumes_at_the_new_time() -> None:
    policy = PacsPolicy(bulk_pauses=("01:00-04:00",))
    # Berlin, 2026-03-29: 02:00 becomes 03:00, so that the window lasts two hours.
    paused = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    assert policy.bulk_resumes_at(paused, time_zone="Europe/Berlin") == datetime(
        2026, 3, 29, 2, 0, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_parallel": 0},
        {"requests_per_s": 0.0},
        {"megabytes_per_s": -1.0},
        {"max_attempts": 0},
        {"breaker_failures": 0},
        {"probe_interval_s": -1.0},
        {"time_zone": "Europe/Atlantis"},
        {"bulk_pauses": ("by day",)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_policy_when_out_of_range_does_not_construct(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"out of its range|time zone|written like"):
        PacsPolicy(**wrong)
