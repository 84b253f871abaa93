"""Which slices of a CT or MR series are compared: a rule that anybody can check, and its words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SLICED = frozenset({"CT", "MR"})
MAX_KEY_SLICES = 5
# The ends of a series show shoulders, neck or air: what is compared lies in the middle.
CENTRAL_SHARE = 0.6
# Two slices lie in one plane direction if row and column directions differ by less than 5 degrees.
SAME_DIRECTION = math.cos(math.radians(5.0))
MAX_DIRECTIONS = 64  # slices of further directions are left out: no series of a hospital has them
# Below, the slices are one place at several times, not a stack.
MIN_EXTENT_MM = 0.1
MAX_POSITION_MM = 1e6  # no scanner measures a kilometre from its middle
BY_POSITION = "slice position"
BY_NUMBER = "instance number"

Vector = tuple[float, ...]
Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """What is known of one slice without its pixels.

    Attributes
    ----------
    key
        Names the slice; unique in its series.
    instance_number
        Instance Number (0020,0013), or the frame number in a multi-frame object.
    position
        Image Position (Patient) (0020,0032), ``(x, y, z)`` in millimetres.
    orientation
        Image Orientation (Patient) (0020,0037): row then column direction.

    """

    key: str
    instance_number: int | None = None
    position: Vector | None = None
    orientation: Vector | None = None


@dataclass(frozen=True, slots=True)
class SlicePlace:
    """Where a compared slice lies in its series.

    Attributes
    ----------
    number
        1-based; the Instance Number where the series counts its slices from 1 to n, as a viewer
        shows it, else the place in the order along the normal.
    n_slices
        Of the whole series.
    ordered_by
        `BY_POSITION` or `BY_NUMBER`.

    """

    number: int
    n_slices: int
    ordered_by: str

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.n_slices:
            raise ValueError("a slice's number lies between 1 and the number of slices")


@dataclass(frozen=True, slots=True)
class KeySlice:
    """A slice to compare."""

    key: str
    place: SlicePlace


def key_slices(
    slices: Sequence[SliceRecord], *, at_most: int = MAX_KEY_SLICES
) -> tuple[KeySlice, ...]:
    """Choose the slices to compare, the middle one first, the others in their order.

    The rule: of the slices with a position, those of the commonest orientation are ordered along
    their normal; where more slices lack a position than have one, all are ordered by instance
    number. `at_most` points are set at equal distances over the central 60 % of what the order
    covers, and the slice nearest to each is taken, each once. The order in which `slices` are given
    never matters.

    Parameters
    ----------
    slices
        Of one series; planning views, secondary captures and derived pictures already left out.
    at_most
        At least 1.

    References
    ----------
    DICOM PS3.3 C.7.6.2.1.1 (position and orientation).

    Examples
    --------
    >>> series = [SliceRecord(str(i), i) for i in range(1, 102)]
    >>> [chosen.place.number for chosen in key_slices(series)]
    [51, 21, 36, 66, 81]

    """
    if not slices:
        return ()
    ordered, along, ordered_by = _ordered(slices)
    numbers = _numbers(slices, ordered)
    points = _central_points(along, at_most)
    chosen = list(dict.fromkeys(int(np.argmin(np.abs(along - point))) for point in points))
    middle = int(np.argmin(np.abs(along - (along[0] + along[-1]) / 2)))
    key = min(chosen, key=lambda i: (abs(i - middle), i))
    return tuple(
        KeySlice(ordered[i].key, SlicePlace(numbers[i], len(slices), ordered_by))
        for i in (key, *sorted(set(chosen) - {key}))
    )


def unit_normal(orientation: Vector | None) -> Float64Array | None:
    """Return the unit normal of a plane, shape ``(3,)``; None where it is not well defined.

    Examples
    --------
    >>> unit_normal((1.0, 0.0, 0.0, 0.0, 1.0, 0.0)).tolist()
    [0.0, 0.0, 1.0]

    """
    if orientation is None or len(orientation) != 6 or not all(map(math.isfinite, orientation)):
        return None
    row, column = np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)
    normal = np.cross(row, column)
    # Both directions are unit vectors at right angles; a plane that is far from that is a mistake.
    if not 0.5 <= np.linalg.norm(normal) <= 1.5:
        return None
    return np.asarray(normal / np.linalg.norm(normal))


def _ordered(
    slices: Sequence[SliceRecord],
) -> tuple[list[SliceRecord], Float64Array, str]:
    """Return the slices in order, where each lies along it, and what they were ordered by."""
    counted = sorted(slices, key=_by_number)
    placed = [s for s in counted if _is_placed(s)]
    if placed and 2 * len(placed) >= len(counted):
        group = _commonest_orientation(placed)
        normal = unit_normal(group[0].orientation)
        positions = np.array([s.position for s in group], dtype=np.float64)
        along = positions @ (np.zeros(3) if normal is None else normal)
        order = np.argsort(along, kind="stable")  # several times at one place: by number
        if along.max() - along.min() >= MIN_EXTENT_MM or len(group) == 1:
            return [group[i] for i in order], along[order], BY_POSITION
        counted = group
    return counted, np.arange(len(counted), dtype=np.float64), BY_NUMBER


def _by_number(record: SliceRecord) -> tuple[bool, int, str]:
    return record.instance_number is None, record.instance_number or 0, record.key


def _is_placed(record: SliceRecord) -> bool:
    position = record.position
    return (
        position is not None
        and len(position) == 3
        and all(abs(along) <= MAX_POSITION_MM for along in position)  # false for what is no number
        and _is_plane(record.orientation)
    )


@lru_cache(maxsize=256)  # a series has one orientation, or a few
def _is_plane(orientation: Vector | None) -> bool:
    return unit_normal(orientation) is not None


def _commonest_orientation(placed: Sequence[SliceRecord]) -> list[SliceRecord]:
    """Return the largest group of one direction; of equally large ones the first by number."""
    references: list[Float64Array] = []
    groups: dict[int, list[SliceRecord]] = {}
    known: dict[Vector, int | None] = {}
    for record in placed:
        orientation = record.orientation or ()
        if orientation not in known:
            known[orientation] = _direction_among(references, orientation)
        number = known[orientation]
        if number is not None:
            groups.setdefault(number, []).append(record)
    return max(groups.values(), key=len)


def _direction_among(references: list[Float64Array], orientation: Vector) -> int | None:
    """Return which reference is parallel, a new one if none is; None beyond the last allowed."""
    pair = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
    pair = pair / np.linalg.norm(pair, axis=1, keepdims=True)
    for number, reference in enumerate(references):
        if ((pair * reference).sum(axis=1) >= SAME_DIRECTION).all():
            return number
    if len(references) == MAX_DIRECTIONS:
        return None
    references.append(pair)
    return len(references) - 1


def _numbers(slices: Sequence[SliceRecord], ordered: Sequence[SliceRecord]) -> list[int]:
    own = [s.instance_number for s in ordered]
    whole = sorted(s.instance_number or 0 for s in slices)
    if whole == list(range(1, len(slices) + 1)):
        return [number or 0 for number in own]
    return list(range(1, len(ordered) + 1))


def _central_points(along: Float64Array, at_most: int) -> Float64Array:
    edge = (1.0 - CENTRAL_SHARE) / 2
    shares = np.linspace(edge, 1.0 - edge, at_most) if at_most > 1 else np.array([0.5])
    return np.asarray(along[0] + shares * (along[-1] - along[0]))
