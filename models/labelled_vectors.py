"""Frozen embeddings with labels: what a site adapter learns from, and when that is too little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cds.domain.errors import CdsError, Reason

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.intp]

MIN_GROUPS_OF_CLASS = 8  # patients; a rarer label teaches nothing
MIN_GROUPS = 40  # labelled patients of all classes that are learnt


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVectors:
    """What an adapter learns from.

    Attributes
    ----------
    vectors
        Shape ``(n, d)``, unit norm, of the frozen encoder.
    classes
        Shape ``(n,)``, a number per label of a collection: the same label in another collection
        is another class.
    collections
        Shape ``(n,)``, a number per collection.
    groups
        Shape ``(n,)``, a number per patient (and whatever must stay with him: near-duplicates).

    """

    vectors: Float32Array
    classes: IntArray
    collections: IntArray
    groups: IntArray

    def __len__(self) -> int:
        return int(self.classes.size)

    def part(self, chosen: NDArray[Any]) -> LabelledVectors:
        """Return some of the rows: a mask or indices."""
        return LabelledVectors(
            self.vectors[chosen],
            self.classes[chosen],
            self.collections[chosen],
            self.groups[chosen],
        )

    @property
    def n_groups(self) -> int:
        """How many patients there are."""
        return int(np.unique(self.groups).size)


def learnable(labelled: LabelledVectors) -> LabelledVectors:
    """Return the rows that teach something: of classes with enough patients and a rival.

    Raises
    ------
    CdsError
        INVALID_REQUEST if too few labelled patients remain.

    """
    kept = np.zeros(len(labelled), dtype=np.bool_)
    for number in np.unique(labelled.classes):
        rows = labelled.classes == number
        kept |= rows & (np.unique(labelled.groups[rows]).size >= MIN_GROUPS_OF_CLASS)
    for number in np.unique(labelled.collections):
        rows = labelled.collections == number
        if np.unique(labelled.classes[rows & kept]).size < 2:
            kept &= ~rows
    part = labelled.part(kept)
    if part.n_groups < MIN_GROUPS:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"An adapter needs at least {MIN_GROUPS} labelled patients, in a collection with two "
            f"labels or more that {MIN_GROUPS_OF_CLASS} patients have each; this library has "
            f"{part.n_groups}. Nothing was changed.",
        )
    return part
