from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cds.adapters.retry_after import LONGEST_S, retry_after_s

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": " 30 "}, 30),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "9" * 400}, LONGEST_S),
        ({"Retry-After": "Mon, 05 Jan 2026 12:02:00 GMT"}, 120),
        ({"Retry-After": "Mon, 05 Jan 2026 11:00:00 GMT"}, 0),
        ({"Retry-After": "Mon, 05 Jan 2099 11:00:00 GMT"}, LONGEST_S),
        # The server's clock is an hour behind: its own Date counts.
        (
            {
                "Retry-After": "Mon, 05 Jan 2026 11:00:30 GMT",
                "Date": "Mon, 05 Jan 2026 11:00:00 GMT",
            },
            30,
        ),
        ({"Retry-After": "Mon, 05 Jan 2026 12:00:10 GMT", "Date": "never"}, 10),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)
def test_retry_after_when_sent_is_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=NOW) == seconds
