"""Splits by patient and near-duplicate group, and the check that nothing leaks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cds.domain.grouping import joined_groups
from models.picture_groups import near_duplicate_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from models.training.rows import Row

__all__ = [
    "LeakError",
    "Split",
    "groups_of",
    "near_duplicate_pairs",
    "refuse_leak",
    "split_by_group",
]


class LeakError(ValueError):
    """Two pictures of one patient, or two copies of one film, lie on two sides of a split."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Indices of the rows on each side.

    Attributes
    ----------
    train, validation, test
        Shape ``(n,)``, ascending, 0-based, disjoint.

    """

    train: NDArray[np.intp]
    validation: NDArray[np.intp]
    test: NDArray[np.intp]


def groups_of(rows: Sequence[Row], duplicates: Iterable[tuple[int, int]]) -> NDArray[np.intp]:
    """Join rows of one patient, of one named duplicate group, and near-duplicates.

    Parameters
    ----------
    rows
        The pictures.
    duplicates
        Pairs of row indices, as `near_duplicate_pairs` finds them.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``; the group of each row is the index of its first member.

    """
    return joined_groups([_keys(row) for row in rows], duplicates)


def split_by_group(
    rows: Sequence[Row],
    groups: NDArray[np.intp],
    *,
    seed: int,
    test_share: float = 0.25,
    validation_share: float = 0.2,
) -> Split:
    """Assign whole groups to a side, by a hash that does not depend on the other rows.

    Parameters
    ----------
    rows
        The pictures.
    groups
        Shape ``(n,)``, as `groups_of` gives them.
    seed
        Another seed gives another split.
    test_share, validation_share
        Expected shares of the groups; the rest is for training.

    Returns
    -------
    Split
        Free of leaks by construction; `refuse_leak` checks it again from the rows.

    """
    places = np.array([_place(f"{seed}:{rows[group].name}") for group in groups.tolist()])
    return Split(
        train=np.flatnonzero(places >= test_share + validation_share),
        validation=np.flatnonzero(
            (places >= test_share) & (places < test_share + validation_share)
        ),
        test=np.flatnonzero(places < test_share),
    )


SIDES = ("train", "validation", "test")


def stated_split(rows: Sequence[Row]) -> Split | None:
    """Return the split that the rows state.

    Parameters
    ----------
    rows
        The pictures.

    Returns
    -------
    Split or None
        None if no row states a side; not yet checked for leaks.

    Raises
    ------
    ValueError
        If only some rows state one.

    """
    if all(row.side is None for row in rows):
        return None
    silent = next((row for row in rows if row.side not in SIDES), None)
    if silent is not None:
        raise ValueError(f"{silent.name} states no side of the split, but others do")
    sides = np.array([row.side for row in rows])
    return Split(*(np.flatnonzero(sides == side) for side in SIDES))


def refuse_leak(
    rows: Sequence[Row],
    sides: Sequence[NDArray[np.intp]],
    duplicates: Iterable[tuple[int, int]],
) -> None:
    """Raise if one patient or one film lies on two sides.

    Parameters
    ----------
    rows
        The pictures.
    sides
        Row indices of each side.
    duplicates
        Pairs of row indices that are near-duplicates.

    Raises
    ------
    LeakError
        Naming the two pictures, by source and file.

    """
    side_of = {int(row): number for number, side in enumerate(sides) for row in side}
    seen: dict[str, int] = {}
    pairs = list(duplicates)
    for index in sorted(side_of):
        pairs.extend((seen.setdefault(key, index), index) for key in _keys(rows[index]))
    for first, second in pairs:
        if side_of.get(first, -1) != side_of.get(second, -1) and {first, second} <= side_of.keys():
            raise LeakError(f"{rows[first].name} and {rows[second].name} lie on two sides")


def _keys(row: Row) -> list[str]:
    """Name what must stay together with this row."""
    keys = [f"patient:{row.patient}"]
    if row.duplicate_group is not None:
        keys.append(f"duplicate:{row.duplicate_group}")
    return keys


def _place(key: str) -> float:
    """Map a text to [0, 1), evenly and for ever the same."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2.0**64
