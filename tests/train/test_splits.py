"""Splits by patient and near-duplicate group; no leak passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.training.rows import NIH, Row
from models.training.splits import (
    LeakError,
    groups_of,
    near_duplicate_pairs,
    refuse_leak,
    split_by_group,
)


def _rows(*patients: str, duplicate_group: str | None = None) -> list[Row]:
    return [
        Row(NIH, Path(f"{n}.jpg"), patient, frozenset(), "free", duplicate_group)
        for n, patient in enumerate(patients)
    ]


def _sides(*sides: list[int]) -> list[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    return [np.array(side, dtype=np.intp) for side in sides]


def test_leak_when_a_patient_lies_on_two_sides_names_the_pair() -> None:
    rows = _rows("a", "b", "a")

    with pytest.raises(LeakError, match=rf"{NIH}/0.jpg and {NIH}/2.jpg"):
        refuse_leak(rows, _sides([0, 1], [2]), [])


def test_leak_when_a_near_duplicate_lies_on_two_sides_names_the_pair() -> None:
    rows = _rows("a", "b", "c")

    with pytest.raises(LeakError, match=rf"{NIH}/1.jpg and {NIH}/2.jpg"):
        refuse_leak(rows, _sides([0, 1], [2]), [(1, 2)])


def test_leak_when_a_named_duplicate_group_lies_on_two_sides_is_refused() -> None:
    rows = _rows("a", "b", duplicate_group="g7")

    with pytest.raises(LeakError):
        refuse_leak(rows, _sides([0], [1]), [])


def test_leak_check_when_patients_are_apart_passes() -> None:
    refuse_leak(_rows("a", "b", "a", "c"), _sides([0, 2], [1], [3]), [(0, 2)])


def test_groups_join_patients_through_near_duplicates() -> None:
    groups = groups_of(_rows("a", "b", "a", "c", "d"), [(2, 3)])

    assert groups.tolist() == [0, 1, 0, 0, 4]


def test_split_of_many_patients_keeps_groups_whole_and_shares_near_the_asked() -> None:
    rows = _rows(*(f"p{n // 3}" for n in range(3000)))
    duplicates = [(n, n + 500) for n in range(0, 400, 7)]
    groups = groups_of(rows, duplicates)

    split = split_by_group(rows, groups, seed=1, test_share=0.25, validation_share=0.1)

    sides = (split.train, split.validation, split.test)
    refuse_leak(rows, sides, duplicates)
    assert sorted(np.concatenate(sides).tolist()) == list(range(3000))
    assert len(split.test) / 3000 == pytest.approx(0.25, abs=0.05)
    assert len(split.validation) / 3000 == pytest.approx(0.1, abs=0.04)


def test_split_when_another_picture_is_added_keeps_the_sides_of_the_others() -> None:
    rows = _rows(*(f"p{n}" for n in range(60)))
    before = split_by_group(rows[:50], groups_of(rows[:50], []), seed=3)
    after = split_by_group(rows, groups_of(rows, []), seed=3)

    assert set(before.test.tolist()) == {n for n in after.test.tolist() if n < 50}


def test_near_duplicates_are_found_whatever_their_window() -> None:
    generator = np.random.default_rng(0)
    squares = generator.uniform(0, 200, size=(3, 7, 7)).repeat(32, axis=1).repeat(32, axis=2)
    squares[2] = squares[0] * 0.6 + 40

    assert near_duplicate_pairs(squares.astype(np.uint8)) == [(0, 2)]
