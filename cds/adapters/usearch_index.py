"""Approximate nearest neighbours with USearch, re-ranked exactly in float32."""

from __future__ import annotations

import onnxruntime  # noqa: F401  # loaded before usearch: the other order crashes the process

# isort: split
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from cds.adapters.exact_index import ExactIndex

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

CONNECTIVITY = 16
EXPANSION_ADD = 128
EXPANSIONS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
RERANK_FACTOR = 4  # candidates re-ranked exactly per neighbour asked for
MIN_CANDIDATES = 40
RERANK_CHUNK = 32  # queries whose candidates are gathered at a time: they stay in the cache
BATCH_RERANK_FACTOR = 2  # enough to undo bfloat16's swaps between near-equal neighbours
TARGET_RECALL = 0.995  # recall@10 against exact search that the search expansion is tuned to
EXACT_PARTITION = 50_000  # partitions up to this size are searched exactly


@dataclass(frozen=True, slots=True)
class GraphParameters:
    """How a graph is built; `threads` 0 means all cores."""

    connectivity: int = CONNECTIVITY
    expansion_add: int = EXPANSION_ADD
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Tuning:
    """The smallest search expansion that reached the target, and what it reached."""

    expansion_search: int
    recall_at_10: float


class UsearchIndex:
    """HNSW over inner products in bfloat16, with an exact re-rank of the candidates.

    The vectors stay the truth: the graph only proposes. Unlike its file, an instance is never
    written after it was opened. A file must be checked against its SHA-256 before it is opened
    here: damaged bytes can crash the process.

    Parameters
    ----------
    index
        A USearch index over exactly `vectors`, keys 0 to n - 1.
    vectors
        Shape ``(n, d)``, float32.
    expansion_search
        Search expansion, from the index passport.

    """

    def __init__(self, index: Index, vectors: Float32Array, *, expansion_search: int) -> None:
        if len(index) != vectors.shape[0]:
            raise ValueError("the index does not hold exactly these vectors")
        self._index = index
        self._index.expansion_search = expansion_search  # type: ignore[misc]  # settable: stub is wrong
        self._vectors = vectors
        self._exact = ExactIndex(vectors)

    @classmethod
    def build(
        cls,
        vectors: Float32Array,
        *,
        threads: int | None = None,
        parameters: GraphParameters = GraphParameters(),
    ) -> UsearchIndex:
        """Build the graph over `vectors`, shape ``(n, d)``; `threads` overrides the parameters'."""
        threads = parameters.threads if threads is None else threads
        index = _empty(vectors.shape[1], parameters)
        index.add(np.arange(vectors.shape[0], dtype=np.uint64), vectors, threads=threads)
        return cls(index, vectors, expansion_search=EXPANSIONS[0])

    @classmethod
    def view(cls, file: Path, vectors: Float32Array, *, expansion_search: int) -> UsearchIndex:
        """Memory-map a graph whose checksum the caller has just verified."""
        index = _empty(vectors.shape[1])
        index.view(str(file))
        return cls(index, vectors, expansion_search=expansion_search)

    def save(self, file: Path) -> None:
        """Write the graph to a new file; the caller syncs, checksums and renames it."""
        self._index.save(str(file))

    def tune(self, queries: Float32Array, *, target: float = TARGET_RECALL) -> Tuning:
        """Choose the smallest search expansion whose recall@10 reaches `target`.

        Parameters
        ----------
        queries
            Shape ``(m, d)``, float32; drawn from the indexed vectors or like them.
        target
            Recall@10 against exact search, in [0, 1].

        """
        truth = [set(self._exact.search(q, cutoff=10)[0].tolist()) for q in queries]
        recall = 0.0
        for expansion in EXPANSIONS:
            self._index.expansion_search = expansion  # type: ignore[misc]  # settable: stub is wrong
            found = [set(self.search(q, cutoff=10)[0].tolist()) for q in queries]
            recall = float(
                np.mean([len(f & t) / len(t) for f, t in zip(found, truth, strict=True)])
            )
            if recall >= target:
                break
        return Tuning(self._index.expansion_search, recall)

    def set_expansion(self, expansion_search: int) -> None:
        """Change the search expansion, for measurements."""
        self._index.expansion_search = expansion_search  # type: ignore[misc]  # settable: stub is wrong

    def search(
        self, query_vector: Float32Array, *, cutoff: int, positions: IntArray | None = None
    ) -> tuple[IntArray, Float32Array]:
        """Return positions and exact inner products, best first (see `ExactIndex.search`).

        A partition up to 50,000 vectors is searched exactly: USearch has no filter, and fetching
        more and discarding fails where the filter follows the clusters.
        """
        if positions is not None:
            return self._exact.search(query_vector, cutoff=cutoff, positions=positions)
        wanted = min(max(RERANK_FACTOR * cutoff, MIN_CANDIDATES), len(self))
        matches = self._index.search(query_vector, wanted, threads=1)
        candidates = np.sort(matches.keys.astype(np.int64))
        return self._exact.search(query_vector, cutoff=cutoff, positions=candidates)

    def search_batch(self, queries: Float32Array, *, cutoff: int, threads: int) -> IntArray:
        """Return positions for many queries, shape ``(m, cutoff)``, re-ranked exactly.

        Parameters
        ----------
        queries
            Shape ``(m, d)``, float32.
        cutoff
            How many neighbours per query.
        threads
            How many threads walk the graph.

        """
        wanted = min(BATCH_RERANK_FACTOR * cutoff, len(self))
        found = self._index.search(queries, wanted, threads=threads).keys.astype(np.int64)
        best = np.empty((queries.shape[0], min(cutoff, wanted)), dtype=np.int64)
        for start in range(0, queries.shape[0], RERANK_CHUNK):
            rows = slice(start, start + RERANK_CHUNK)
            products = np.matmul(self._vectors[found[rows]], queries[rows, :, np.newaxis])[:, :, 0]
            order = np.argsort(-products, axis=1, kind="stable")[:, : best.shape[1]]
            best[rows] = np.take_along_axis(found[rows], order, axis=1)
        return best

    def __len__(self) -> int:
        """Return how many vectors there are."""
        return int(self._vectors.shape[0])


def _empty(dimension: int, parameters: GraphParameters = GraphParameters()) -> Index:
    return Index(
        ndim=dimension,
        metric="ip",
        dtype="bf16",
        connectivity=parameters.connectivity,
        expansion_add=parameters.expansion_add,
    )
