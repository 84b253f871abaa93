"""Whatever the order of arrivals and counts: complete is never said of a study that still grows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from cds.domain.completeness import Completeness, CompletenessRule, InstanceCount

STARTED_AT = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
RULE = CompletenessRule(stable_s=60.0)

# The modality pauses for less than the rule waits; then nothing more comes.
gaps_s = st.lists(st.floats(0.1, 59.0), min_size=1, max_size=30)
polls_s = st.lists(st.floats(0.0, 3000.0), min_size=1, max_size=60).map(sorted)


def n_at(arrivals_s: list[float], second: float) -> int:
    return sum(arrived_s <= second for arrived_s in arrivals_s)


@given(gaps_s, polls_s, st.booleans())
def test_study_when_called_complete_has_arrived_whole(
    gaps: list[float], polls: list[float], is_stated: bool
) -> None:
    arrivals_s = list(accumulate(gaps))
    count = None
    stated = (len(arrivals_s) if is_stated else None,)
    for second in polls:
        now = STARTED_AT + timedelta(seconds=second)
        n = n_at(arrivals_s, second)
        count = InstanceCount(n, now) if count is None else count.followed_by(n, now)
        if RULE.verdict(count, stated=stated, now=now).completeness is Completeness.COMPLETE:
            assert n == len(arrivals_s)


@given(gaps_s, polls_s)
def test_study_when_nothing_more_comes_is_complete_at_the_time_that_was_named(
    gaps: list[float], polls: list[float]
) -> None:
    arrivals_s = list(accumulate(gaps))
    now = STARTED_AT
    count = InstanceCount(0, now)
    for second in polls:
        now = STARTED_AT + timedelta(seconds=second)
        count = count.followed_by(n_at(arrivals_s, second), now)
    for _ in range(len(arrivals_s) + 60):
        verdict = RULE.verdict(count, stated=(len(arrivals_s),), now=now)
        if verdict.completeness is Completeness.COMPLETE:
            break
        assert verdict.again_at is not None
        now = max(verdict.again_at, now)
        count = count.followed_by(n_at(arrivals_s, (now - STARTED_AT).total_seconds()), now)
    assert verdict.completeness is Completeness.COMPLETE


@given(gaps_s, polls_s)
def test_study_when_instances_are_missing_is_never_complete(
    gaps: list[float], polls: list[float]
) -> None:
    arrivals_s = list(accumulate(gaps))
    count = None
    for second in polls:
        now = STARTED_AT + timedelta(seconds=second)
        n = n_at(arrivals_s, second)
        count = InstanceCount(n, now) if count is None else count.followed_by(n, now)
        verdict = RULE.verdict(count, stated=(len(arrivals_s) + 1,), now=now)
        assert verdict.completeness is not Completeness.COMPLETE
