"""Whatever a PACS writes into its list of studies, reading it gives a study or nothing."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from cds.adapters.study_json import study_from_json, study_on, study_time
from cds.adapters.study_walk import Slice, slices

ZONE = ZoneInfo("Europe/Berlin")
TAGS = ("0020000D", "00080020", "00080030", "00080050", "00080061", "00080201", "00100020")
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["1.2.3", "20260105", "064100", "2026.01.05", "99991231", "00010101"]),
    st.sampled_from(["+0100", "-1200", "+1400", "240000", "235960.5", "\u0661\u0662\u0663\u0664"]),
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(texts, scalars))
elements = st.one_of(scalars, st.fixed_dictionaries({"vr": texts, "Value": values}))
answers = st.one_of(scalars, st.dictionaries(st.sampled_from(TAGS), elements))
written = st.sampled_from(["00010101", "99991231", "20260105", "2026.01.05", "20260230"])
clocks = st.sampled_from(["", "000000", "235959.999999", "235960", "2400", "06", "06:41:00"])
offsets = st.sampled_from(["+0100", "-1200", "+1400", "+9900", "", "0100"])
days = st.dates(date(1900, 1, 1), date(2100, 1, 1))


@given(answers)
def test_answer_of_any_shape_is_a_study_or_nothing(answer: object) -> None:
    study = study_from_json(answer, zone=ZONE)
    study_on(answer)
    study_time(answer)
    if study is not None:
        assert study.study_instance_uid
        assert study.started_at is None or study.started_at.tzinfo is UTC
        assert study.started_at is None or study.started_at < datetime.max.replace(tzinfo=UTC)


@given(written, clocks, offsets)
def test_moment_of_any_form_is_one_in_utc_or_none(on: str, at: str, offset: str) -> None:
    answer = {
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
        "00080020": {"vr": "DA", "Value": [on]},
        "00080030": {"vr": "TM", "Value": [at]},
        "00080201": {"vr": "SH", "Value": [offset]},
    }
    study = study_from_json(answer, zone=ZONE)
    assert study is not None
    if on in {"20260105", "2026.01.05"}:
        assert study.started_at is not None
        assert abs(study.started_at - datetime(2026, 1, 5, 12, tzinfo=UTC)) < timedelta(hours=27)
    elif on == "20260230":
        assert study.started_at is None


@given(st.one_of(st.none(), days), days)
def test_slices_cover_every_day_once_in_order(first: date | None, last: date) -> None:
    parts = list(slices(first, last))
    begin = first or date(1900, 1, 1)
    assert sum((p.to_on - p.from_on).days + 1 for p in parts) == max(0, (last - begin).days + 1)
    for one, following in itertools.pairwise(parts):
        assert following.from_on == one.to_on + timedelta(days=1)
    if parts:
        assert (parts[0].from_on, parts[-1].to_on) == (begin, last)


@given(days, st.integers(0, 400), st.integers(0, 86399))
def test_halves_cover_every_moment_once(first: date, n_days: int, second: int) -> None:
    at = f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"
    answer = {
        "00080020": {"vr": "DA", "Value": [f"{first:%Y%m%d}"]},
        "00080030": {"vr": "TM", "Value": [at]},
    }
    part = Slice(first, first + timedelta(days=n_days))
    n_halvings = 0
    while (halves := part.halves()) is not None:
        holding = [half for half in halves if half.holds(answer)]
        assert len(holding) == 1
        part = holding[0]
        n_halvings += 1
    assert (part.to_s - part.from_s) <= 60
    assert n_halvings <= 20
