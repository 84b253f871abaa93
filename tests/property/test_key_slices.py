"""The rule for key slices holds whatever a series looks like."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.domain.key_slices import (
    BY_NUMBER,
    BY_POSITION,
    CENTRAL_SHARE,
    MAX_KEY_SLICES,
    SliceRecord,
    key_slices,
    unit_normal,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)

finite = st.floats(-2000.0, 2000.0, allow_nan=False)
number = st.none() | st.integers(-5, 400)
position = st.none() | st.tuples(finite, finite, st.floats(allow_nan=True, allow_infinity=True))
orientation = st.sampled_from([None, AXIAL, CORONAL, SAGITTAL, (0.0,) * 6, (1.0,) * 5])


@st.composite
def any_series(draw: st.DrawFn) -> list[SliceRecord]:
    n = draw(st.integers(1, 60))
    return [SliceRecord(f"k{i}", draw(number), draw(position), draw(orientation)) for i in range(n)]


def an_axial_series(places_mm: list[float]) -> list[SliceRecord]:
    return [SliceRecord(f"k{i}", None, (3.0, -7.0, z), AXIAL) for i, z in enumerate(places_mm)]


def keys(slices: list[SliceRecord]) -> list[str]:
    return [chosen.key for chosen in key_slices(slices)]


@given(any_series(), st.randoms(use_true_random=False))
def test_order_in_which_slices_are_given_never_matters(
    series: list[SliceRecord], random: object
) -> None:
    shuffled = list(series)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis' random
    assert key_slices(shuffled) == key_slices(series)


@given(any_series())
def test_choice_is_bounded_distinct_and_numbered_within_the_series(
    series: list[SliceRecord],
) -> None:
    chosen = key_slices(series)
    assert 1 <= len(chosen) <= MAX_KEY_SLICES
    assert len({c.key for c in chosen}) == len(chosen)
    assert {c.key for c in chosen} <= {s.key for s in series}
    assert len({c.place.number for c in chosen}) == len(chosen)
    assert {c.place.n_slices for c in chosen} == {len(series)}


@given(st.lists(st.floats(-1000, 1000), min_size=2, max_size=80, unique=True))
def test_slice_nearest_to_the_middle_comes_first_whatever_the_gaps(places: list[float]) -> None:
    if max(places) - min(places) < 1.0:
        return
    middle = (min(places) + max(places)) / 2
    (first, *_) = key_slices(an_axial_series(places))
    nearest = min(abs(z - middle) for z in places)
    assert abs(places[int(first.key[1:])] - middle) == pytest.approx(nearest, abs=1e-9)
    assert first.place.ordered_by == BY_POSITION


@given(st.integers(20, 400), st.floats(0.3, 10.0))
def test_evenly_spaced_series_gives_evenly_spaced_slices_of_the_central_part(
    n: int, spacing_mm: float
) -> None:
    series = an_axial_series([i * spacing_mm for i in range(n)])
    chosen = sorted(int(key[1:]) for key in keys(series))
    assert len(chosen) == MAX_KEY_SLICES
    gaps = np.diff(chosen)
    assert gaps.max() - gaps.min() <= 1
    edge = (1 - CENTRAL_SHARE) / 2 * (n - 1)
    assert edge - 0.5 <= chosen[0]
    assert chosen[-1] <= n - 1 - edge + 0.5


@given(st.floats(-math.pi, math.pi), st.integers(5, 90))
def test_choice_does_not_depend_on_how_the_patient_lies(angle: float, n: int) -> None:
    turn = np.array(
        [[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]]
    )
    plane = (*(turn @ AXIAL[:3]), *(turn @ AXIAL[3:]))
    turned = [
        SliceRecord(s.key, None, tuple(turn @ s.position), tuple(map(float, plane)))
        for s in an_axial_series([1.7 * i for i in range(n)])
    ]
    here = {int(k[1:]) for k in keys(an_axial_series([1.7 * i for i in range(n)]))}
    there = {int(k[1:]) for k in keys(turned)}
    assert all(min(abs(a - b) for b in there) <= 1 for a in here)  # rounding of exact ties


def test_gap_when_slices_are_missing_is_bridged_by_the_nearest() -> None:
    lung = [float(z) for z in (*range(40), *range(160, 201))]
    assert keys(an_axial_series(lung)) == ["k40", "k39"]


def test_positions_when_most_lack_them_give_way_to_instance_numbers() -> None:
    series = [
        SliceRecord(f"k{i}", i, (0.0, 0.0, -float(i)) if i < 5 else None, AXIAL)
        for i in range(1, 22)
    ]
    chosen = key_slices(series)
    assert [c.place.number for c in chosen] == [11, 5, 8, 14, 17]
    assert {c.place.ordered_by for c in chosen} == {BY_NUMBER}


def test_few_slices_without_position_are_left_out_of_the_order() -> None:
    series = [*an_axial_series([float(i) for i in range(21)]), SliceRecord("odd")]
    chosen = key_slices(series)
    assert "odd" not in {c.key for c in chosen}
    assert {c.place.n_slices for c in chosen} == {22}


def test_mixed_orientations_give_the_commonest() -> None:
    planning = [SliceRecord(f"c{i}", i, (0.0, float(i), 0.0), CORONAL) for i in range(9)]
    axial = an_axial_series([float(i) for i in range(10)])
    assert {key[0] for key in keys([*planning, *axial])} == {"k"}


def test_series_of_a_thousand_directions_is_bounded_and_still_gives_slices() -> None:
    fan = [
        SliceRecord(
            f"k{i}",
            i,
            (0.0, 0.0, float(i)),
            (math.cos(i), math.sin(i), 0.0, -math.sin(i), math.cos(i), 0.0),
        )
        for i in range(1, 1001)
    ]
    assert key_slices(fan)[0].place.n_slices == 1000
    twisted = [
        SliceRecord(
            f"k{i}", i, (0.0, 0.0, float(i)), (1.0, 0.0, 0.0, 0.0, math.cos(i), math.sin(i))
        )
        for i in range(1, 1001)
    ]
    assert 1 <= len(key_slices(twisted)) <= MAX_KEY_SLICES


def test_several_times_at_one_place_are_ordered_by_number() -> None:
    cine = [SliceRecord(f"k{i}", i, (0.0, 0.0, 5.0), AXIAL) for i in range(1, 10)]
    chosen = key_slices(cine)
    assert chosen[0].place.number == 5
    assert chosen[0].place.ordered_by == BY_NUMBER


def test_number_when_the_series_counts_from_one_is_the_instance_number() -> None:
    feet_first = [SliceRecord(f"k{i}", 22 - i, (0.0, 0.0, float(i)), AXIAL) for i in range(1, 22)]
    assert [(c.key, c.place.number) for c in key_slices(feet_first)][:2] == [
        ("k11", 11),
        ("k5", 17),
    ]


def test_single_slice_is_the_key_slice() -> None:
    (only,) = key_slices([SliceRecord("k")])
    assert (only.key, only.place.number, only.place.n_slices) == ("k", 1, 1)


def test_no_slices_give_none() -> None:
    assert key_slices([]) == ()


@pytest.mark.parametrize(
    "plane",
    [None, (1.0, 0.0), (0.0,) * 6, (1.0, 0.0, 0.0) * 2, (math.nan,) * 6],
    ids=["none", "short", "zero", "parallel", "nan"],
)
def test_plane_that_is_not_defined_has_no_normal(plane: tuple[float, ...] | None) -> None:
    assert unit_normal(plane) is None
