"""Whether any case is similar enough: each collection's best case is held against its own limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cds.domain.generation import Float32Array, IndexPassport, TextArray
from cds.domain.query import Eligibility


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRows:
    """Rows of one part as they were compared.

    Attributes
    ----------
    image, record
        Shape ``(m,)``: similarity by block, None where the query lacks it.
    collections
        Shape ``(m,)``: where each row comes from.

    """

    image: Float32Array | None
    record: Float32Array | None
    collections: TextArray


@dataclass(frozen=True, slots=True)
class Reached:
    """A best similarity, None where no case was eligible, and the limit that it must reach."""

    similarity: float | None
    limit: float


def closest_to_its_limit(
    parts: Sequence[ComparedRows], passport: IndexPassport, eligibility: Eligibility
) -> Reached:
    """Return the best similarity that exceeds its limit by most, or falls short of it by least.

    A picture is held against the image limits, one per collection; a record without a picture
    against the one limit of records.
    """
    if any(part.image is not None for part in parts):
        return _of_pictures(parts, passport, eligibility)
    best = [float(p.record.max()) for p in parts if p.record is not None and p.record.size]
    return Reached(max(best, default=None), passport.record_limit)


def _of_pictures(
    parts: Sequence[ComparedRows], passport: IndexPassport, eligibility: Eligibility
) -> Reached:
    limits = passport.image_limits
    reached = []
    for part in parts:
        if part.image is None:
            continue
        for collection in _distinct(part.collections):
            best = float(part.image[part.collections == collection].max())
            reached.append(Reached(best, limits.toward(collection, eligibility)))
    return max(reached, key=_margin, default=Reached(None, limits.strictest))


def _margin(reached: Reached) -> tuple[float, float]:
    similarity = -np.inf if reached.similarity is None else reached.similarity
    return similarity - reached.limit, similarity


def _distinct(collections: TextArray) -> list[str]:
    """Return the distinct values, without sorting them all: there are few collections."""
    found: list[str] = []
    left = collections
    while left.size:
        found.append(str(left[0]))
        left = left[left != left[0]]
    return sorted(found)
