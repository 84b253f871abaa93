"""What held-out queries find within their own collection, through a linear map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.within_source import (
    N_VOTERS,
    RetrievalTask,
    neighbor_auroc,
    precision_at,
)
from models.labelled_vectors import LabelledVectors
from models.site_adapter import LinearMap

Float64Array = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the first neighbours of held-out queries were, in one collection.

    Attributes
    ----------
    first, fifth
        Shape ``(q,)``: P@1 and P@5 of each query.
    voters
        Shape ``(q, 15)``: the classes of the nearest cases; -1 where the library is smaller.
    neighbor
        Shape ``(q,)``: row of the nearest case.
    classes, groups
        Shape ``(q,)``: of each query.

    """

    first: Float64Array
    fifth: Float64Array
    voters: IntArray
    neighbor: IntArray
    classes: IntArray
    groups: IntArray

    def auroc(self, chosen: IntArray) -> float:
        """Return the AUROC of the neighbours' vote over some of the queries."""
        names, numbers = np.unique(np.r_[self.classes, self.voters.ravel()], return_inverse=True)
        shift = int((names == -1).any())
        n = self.classes.size
        classes = numbers[:n] - shift
        voters = numbers[n:].reshape(n, -1) - shift
        library = np.r_[voters.ravel(), -1]  # the vote refers to a place in it; the last is none
        task = RetrievalTask(classes[chosen], library, chosen, library)
        places = np.arange(voters.size).reshape(voters.shape)[chosen]
        return neighbor_auroc(places, task, n_voters=voters.shape[1])


def answered(
    linear_map: LinearMap, queries: LabelledVectors, library: LabelledVectors
) -> dict[int, Answers]:
    """Search the library's cases of each query's own collection; no query meets its own patient.

    Parameters
    ----------
    linear_map
        What both sides go through.
    queries, library
        Rows of the same collections.

    Returns
    -------
    dict
        Collection number -> what was found; collections that lack queries or cases are left out.

    """
    found = {}
    for number in np.unique(queries.collections).tolist():
        asked = queries.part(queries.collections == number)
        held = library.part(library.collections == number)
        if len(held):
            found[number] = _answers(linear_map, asked, held)
    return found


def _answers(linear_map: LinearMap, asked: LabelledVectors, held: LabelledVectors) -> Answers:
    task = RetrievalTask(asked.classes, held.classes, asked.groups, held.groups)
    products = linear_map(asked.vectors) @ linear_map(held.vectors).T
    own = asked.groups[:, None] == held.groups[None, :]
    products[own] = -np.inf
    n = min(N_VOTERS, len(held))
    nearest = np.argpartition(-products, n - 1, axis=1)[:, :n]
    nearest.sort(axis=1)  # ties by place
    by_row = np.take_along_axis(products, nearest, axis=1)
    ranking = np.take_along_axis(nearest, np.argsort(-by_row, axis=1, kind="stable"), axis=1)
    voters = np.where(
        np.take_along_axis(own, ranking, axis=1), -1, held.classes[ranking]
    )  # where nobody else is left
    return Answers(
        first=precision_at(ranking, task, cutoff=1),
        fifth=precision_at(ranking, task, cutoff=5),
        voters=voters,
        neighbor=ranking[:, 0],
        classes=asked.classes,
        groups=asked.groups,
    )


def joined(parts: list[Answers]) -> Answers:
    """Return the answers of several folds as one."""
    width = max(part.voters.shape[1] for part in parts)
    padded = [
        np.pad(p.voters, ((0, 0), (0, width - p.voters.shape[1])), constant_values=-1)
        for p in parts
    ]
    return Answers(
        first=np.concatenate([p.first for p in parts]),
        fifth=np.concatenate([p.fifth for p in parts]),
        voters=np.concatenate(padded),
        neighbor=np.concatenate([p.neighbor for p in parts]),
        classes=np.concatenate([p.classes for p in parts]),
        groups=np.concatenate([p.groups for p in parts]),
    )
