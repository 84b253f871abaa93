"""Exact nearest neighbours by inner product: one matrix product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]


class ExactIndex:
    """Searches every vector; the reference that approximate indexes are measured against.

    Parameters
    ----------
    vectors
        Shape ``(n, d)``, float32; may be memory-mapped, never written.

    """

    def __init__(self, vectors: Float32Array) -> None:
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise ValueError("vectors are float32 of shape (n, d)")
        self._vectors = vectors

    def search(
        self, query_vector: Float32Array, *, cutoff: int, positions: IntArray | None = None
    ) -> tuple[IntArray, Float32Array]:
        """Return positions and inner products of the best `cutoff` vectors, best first.

        Parameters
        ----------
        query_vector
            Shape ``(d,)``, float32.
        cutoff
            How many at most.
        positions
            Sorted positions to search in, shape ``(m,)``, int64; None means all.

        Returns
        -------
        tuple of numpy.ndarray
            Both of shape ``(min(cutoff, m),)``; equal inner products in order of position.

        """
        vectors = self._vectors if positions is None else self._vectors[positions]
        products: Float32Array = vectors @ query_vector
        best = best_positions(products, cutoff)
        return (best if positions is None else positions[best]), products[best]

    def __len__(self) -> int:
        """Return how many vectors there are."""
        return int(self._vectors.shape[0])


def best_positions(values: Float32Array, cutoff: int) -> IntArray:
    """Return where the largest `cutoff` values are, best first, ties by position.

    Examples
    --------
    >>> best_positions(np.array([0.1, 0.9, 0.9, 0.5], dtype=np.float32), 3).tolist()
    [1, 2, 3]

    """
    n = values.shape[0]
    if cutoff >= n:
        return np.argsort(-values, kind="stable").astype(np.int64)
    threshold = np.partition(values, n - cutoff)[n - cutoff]
    above = np.flatnonzero(values > threshold)
    level = np.flatnonzero(values == threshold)[: cutoff - above.size]
    chosen = np.sort(np.concatenate([above, level]))
    return chosen[np.argsort(-values[chosen], kind="stable")].astype(np.int64)
