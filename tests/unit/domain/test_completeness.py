from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cds.domain.completeness import Completeness, CompletenessRule, InstanceCount

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
RULE = CompletenessRule()


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("stated", "seconds", "expected"),
    [
        ((), 59, Completeness.ARRIVING),
        ((), 60, Completeness.COMPLETE),
        ((None, None), 60, Completeness.COMPLETE),
        ((3,), 60, Completeness.COMPLETE),
        ((3, None, 3), 60, Completeness.COMPLETE),
        ((3,), 59, Completeness.ARRIVING),
        ((4,), 3600, Completeness.ARRIVING),
        ((2,), 3600, Completeness.ARRIVING),
        ((3, 4), 3600, Completeness.ARRIVING),
        ((4,), 24 * 3600, Completeness.DISAGREES),
        ((3,), 24 * 3600, Completeness.COMPLETE),
    ],
)
def test_study_of_three_when_judged_is(
    stated: tuple[int | None, ...], seconds: float, expected: Completeness
) -> None:
    verdict = RULE.verdict(InstanceCount(3, NOON), stated=stated, now=after(seconds))
    assert verdict.completeness is expected
    is_complete = expected is Completeness.COMPLETE
    assert (verdict.again_at is None) is is_complete
    assert verdict.again_at is None or verdict.again_at > after(seconds) - timedelta(seconds=1)


def test_study_without_instances_is_never_complete() -> None:
    verdict = RULE.verdict(InstanceCount(0, NOON), stated=(0,), now=after(10 * 24 * 3600))
    assert verdict.completeness is Completeness.EMPTY


def test_study_that_arrives_is_counted_again_when_it_may_be_complete() -> None:
    verdict = RULE.verdict(InstanceCount(3, NOON), now=after(20))
    assert verdict.again_at == after(60)


def test_count_when_the_clock_went_back_starts_anew() -> None:
    count = InstanceCount(3, NOON).followed_by(3, after(-3600))
    assert count == InstanceCount(3, after(-3600))


def test_count_when_it_falls_starts_anew() -> None:
    assert InstanceCount(3, NOON).followed_by(2, after(60)) == InstanceCount(2, after(60))


def test_values_out_of_range_do_not_construct() -> None:
    with pytest.raises(ValueError, match="not negative"):
        InstanceCount(-1, NOON)
    with pytest.raises(ValueError, match="zone"):
        InstanceCount(1, datetime(2026, 1, 5))  # noqa: DTZ001  # a time without a zone is the point
    with pytest.raises(ValueError, match="patience"):
        CompletenessRule(stable_s=60, patience_s=59)
