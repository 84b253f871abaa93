"""How well a ranking finds cases of the query's class: the measures of retrieval, per query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.dataset import EvaluationSet

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

N_VOTERS = 15
DEPTH = 15  # the deepest that any measure looks
NOBODY = -1
_BLOCK_QUERIES = 512  # bounds memory

PRECISION_AT_1, PRECISION_AT_3, PRECISION_AT_5 = "P@1", "P@3", "P@5"
AVERAGE_PRECISION = "mAP@5 (by min(k, R))"
AVERAGE_PRECISION_OF_HITS = "mAP@5 (by hits, Mahbod)"
MAJORITY_VOTE = "mMV@5 (Mahbod)"
HIT_AT_1, HIT_AT_3, HIT_AT_5 = "ACC@1", "ACC@3", "ACC@5"
GAIN_AT_10 = "nDCG@10"


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """The first cases of each query's ranking.

    Attributes
    ----------
    order
        Shape ``(q, DEPTH)``, positions in the library, most similar first; `NOBODY` where the
        query may meet fewer.
    classes
        Shape ``(q, DEPTH)``, their classes; `NOBODY` likewise.
    similarities
        Shape ``(q, DEPTH)``, inner products; negative infinity likewise.
    n_relevant
        Shape ``(q,)``, how many library pictures have the query's class and may be met.

    """

    order: IntArray
    classes: IntArray
    similarities: Float32Array
    n_relevant: IntArray
    relevant: BoolArray

    @property
    def n_without_relevant(self) -> int:
        """How many queries have nothing that they could find; they count as 0 everywhere."""
        return int((self.n_relevant == 0).sum())


def nearest(
    vectors: Float32Array, data: EvaluationSet, *, same: IntArray | None = None
) -> Neighbors:
    """Rank the library for each query by inner product, its own patient and copies left out.

    Parameters
    ----------
    vectors
        Shape ``(n, d)``, unit norm, one per picture of the set.
    data
        The set.
    same
        Shape ``(n,)``: a query meets only library pictures with the same number; None: all.

    Returns
    -------
    Neighbors
        Ties by position in the library.

    """
    parts = [
        _nearest_of(vectors, data, data.queries[start : start + _BLOCK_QUERIES], same)
        for start in range(0, len(data.queries), _BLOCK_QUERIES)
    ]
    order, similarities, n_relevant = (np.concatenate(part) for part in zip(*parts, strict=True))
    classes = np.where(order == NOBODY, NOBODY, data.library_labels[order])
    relevant = classes == data.query_labels[:, None]
    return Neighbors(order, classes, similarities, n_relevant, relevant)


def _nearest_of(
    vectors: Float32Array, data: EvaluationSet, queries: IntArray, same: IntArray | None
) -> tuple[IntArray, Float32Array, IntArray]:
    library = data.library
    similarities = vectors[queries] @ vectors[library].T
    refused = data.groups[queries][:, None] == data.groups[library][None, :]
    if same is not None:
        refused |= same[queries][:, None] != same[library][None, :]
    similarities[refused] = -np.inf
    alike = data.labels[queries][:, None] == data.labels[library][None, :]
    n_relevant = (alike & ~refused).sum(axis=1)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :DEPTH]
    found = np.take_along_axis(similarities, order, axis=1)
    missing = ((0, 0), (0, DEPTH - order.shape[1]))
    order = np.pad(np.where(np.isneginf(found), NOBODY, order), missing, constant_values=NOBODY)
    found = np.pad(found, missing, constant_values=-np.inf)
    return order.astype(np.intp), found, n_relevant.astype(np.intp)


def precision(relevant: BoolArray, *, cutoff: int) -> FloatArray:
    """Return P@k: the share of the first `cutoff` places that hold the query's class."""
    return np.asarray(relevant[:, :cutoff].sum(axis=1) / float(cutoff), dtype=np.float64)


def average_precision(relevant: BoolArray, n_relevant: IntArray, *, cutoff: int) -> FloatArray:
    """Return AP@k divided by ``min(k, R)``, R relevant cases: 1 only if every place is right.

    Parameters
    ----------
    relevant
        Shape ``(q, depth)``.
    n_relevant
        Shape ``(q,)``, R.
    cutoff
        k.

    Returns
    -------
    numpy.ndarray
        Shape ``(q,)``; 0 where R is 0.

    Examples
    --------
    >>> average_precision(np.array([[True, False, True]]), np.array([9]), cutoff=3).round(3)
    array([0.556])

    """
    possible = np.minimum(n_relevant, cutoff)
    return np.asarray(_precision_sums(relevant, cutoff) / np.maximum(possible, 1), dtype=np.float64)


def average_precision_of_hits(relevant: BoolArray, *, cutoff: int) -> FloatArray:
    """Return AP@k divided by the hits among the first k, as Mahbod et al. compute it.

    One hit at the first place alone gives 1: the measure says how early the hits come, not how
    many they are.

    Parameters
    ----------
    relevant
        Shape ``(q, depth)``.
    cutoff
        k.

    Returns
    -------
    numpy.ndarray
        Shape ``(q,)``; 0 without a hit.

    References
    ----------
    Mahbod et al. 2025, arXiv:2409.09430, and its code (masih4/MedImageRetrieval, ``metric.py``).

    Examples
    --------
    >>> average_precision_of_hits(np.array([[True, True, False, True, False]]), cutoff=5).round(3)
    array([0.917])

    """
    n_hits = relevant[:, :cutoff].sum(axis=1)
    return np.asarray(_precision_sums(relevant, cutoff) / np.maximum(n_hits, 1), dtype=np.float64)


def _precision_sums(relevant: BoolArray, cutoff: int) -> FloatArray:
    """Sum the precision at each place that holds a hit."""
    first = relevant[:, :cutoff]
    at_place = np.cumsum(first, axis=1) / np.arange(1, first.shape[1] + 1)
    return np.asarray((at_place * first).sum(axis=1), dtype=np.float64)


def hit(relevant: BoolArray, *, cutoff: int) -> FloatArray:
    """Return ACC@k: 1 if any of the first k has the query's class."""
    return np.asarray(relevant[:, :cutoff].any(axis=1), dtype=np.float64)


def majority_vote(classes: IntArray, truth: IntArray, *, cutoff: int) -> FloatArray:
    """Return mMV@k as Mahbod et al. count it: a tie for the majority counts as right.

    Parameters
    ----------
    classes
        Shape ``(q, depth)``, classes of the neighbours; `NOBODY` does not vote.
    truth
        Shape ``(q,)``.
    cutoff
        k.

    Returns
    -------
    numpy.ndarray
        Shape ``(q,)``, 1 where the query's class has as many votes as any other, and some.

    Examples
    --------
    >>> majority_vote(np.array([[0, 1, 2, 1, 0]]), np.array([1]), cutoff=5)
    array([1.])

    """
    first = classes[:, :cutoff]
    n_classes = int(max(first.max(initial=0), truth.max(initial=0))) + 1
    votes = np.stack([(first == number).sum(axis=1) for number in range(n_classes)], axis=1)
    own = np.take_along_axis(votes, truth[:, None], axis=1)[:, 0]
    return np.asarray((own == votes.max(axis=1)) & (own > 0), dtype=np.float64)


def normalised_gain(relevant: BoolArray, n_relevant: IntArray, *, cutoff: int) -> FloatArray:
    """Return nDCG@k with gain 1 for the query's class and discount ``1 / log2(place + 1)``.

    Parameters
    ----------
    relevant
        Shape ``(q, depth)``.
    n_relevant
        Shape ``(q,)``: the best ranking has that many hits first, k at most.
    cutoff
        k.

    Returns
    -------
    numpy.ndarray
        Shape ``(q,)``; 0 where nothing is relevant.

    References
    ----------
    Jarvelin and Kekalainen 2002, doi:10.1145/582415.582418.

    """
    first = relevant[:, :cutoff]
    discounts = 1.0 / np.log2(np.arange(2, cutoff + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(n_relevant, cutoff)]
    found = (first * discounts[: first.shape[1]]).sum(axis=1)
    return np.asarray(found / np.where(ideal > 0.0, ideal, 1.0), dtype=np.float64)


def per_query(neighbors: Neighbors, truth: IntArray) -> dict[str, FloatArray]:
    """Return every measure of retrieval, each of shape ``(q,)``."""
    relevant, n_relevant = neighbors.relevant, neighbors.n_relevant
    return {
        PRECISION_AT_1: precision(relevant, cutoff=1),
        PRECISION_AT_3: precision(relevant, cutoff=3),
        PRECISION_AT_5: precision(relevant, cutoff=5),
        AVERAGE_PRECISION: average_precision(relevant, n_relevant, cutoff=5),
        AVERAGE_PRECISION_OF_HITS: average_precision_of_hits(relevant, cutoff=5),
        MAJORITY_VOTE: majority_vote(neighbors.classes, truth, cutoff=5),
        HIT_AT_1: hit(relevant, cutoff=1),
        HIT_AT_3: hit(relevant, cutoff=3),
        HIT_AT_5: hit(relevant, cutoff=5),
        GAIN_AT_10: normalised_gain(relevant, n_relevant, cutoff=10),
    }
