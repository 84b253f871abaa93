"""Search at 100,000 x 256 clustered vectors, against exact search and hnswlib in the same run."""

from __future__ import annotations

import statistics

import hnswlib
import numpy as np

from bench.measure import Ratio, in_turn, median_ratio
from cds.adapters.exact_index import ExactIndex
from cds.adapters.usearch_index import TARGET_RECALL, UsearchIndex

N_VECTORS, DIMENSION, N_CLUSTERS = 100_000, 256, 1_000
N_QUERIES, CUTOFF, THREADS, ROUNDS = 2_000, 10, 2, 7
EXPANSIONS = (16, 20, 24, 26, 28, 30, 32, 36, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512)


def clustered(n: int, rng: np.random.Generator, centres: np.ndarray) -> np.ndarray:
    """Return shape ``(n, 256)``, unit norm: points around shared centres, like real embeddings."""
    points = centres[rng.integers(len(centres), size=n)] + 0.6 * rng.normal(size=(n, DIMENSION))
    unit: np.ndarray = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit.astype(np.float32)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Return recall@10, both of shape ``(m, 10)``."""
    return float(
        np.mean([len(set(f) & set(t)) / CUTOFF for f, t in zip(found, truth, strict=True)])
    )


def smallest_expansion(search, set_expansion, truth, queries, expansions) -> tuple[int, float]:
    """Return the smallest expansion that reaches the target recall on `queries`."""
    reached = 0.0
    for expansion in expansions:
        set_expansion(expansion)
        reached = recall(search(queries), truth)
        if reached >= TARGET_RECALL:
            break
    return expansion, reached


def hnswlib_index(vectors: np.ndarray) -> hnswlib.Index:
    """Return the peer, built with the same connectivity and expansion."""
    index = hnswlib.Index(space="ip", dim=DIMENSION)
    index.init_index(max_elements=len(vectors), M=16, ef_construction=128)
    index.add_items(vectors, num_threads=THREADS)
    index.set_num_threads(THREADS)
    return index


def batch_ratio(ours: UsearchIndex, vectors: np.ndarray, queries: np.ndarray) -> Ratio:
    """Return two-thread batch queries per second, both tuned to the target recall."""
    truth = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :CUTOFF]
    theirs = hnswlib_index(vectors)

    def search_ours(batch=queries):
        return ours.search_batch(batch, cutoff=CUTOFF, threads=THREADS)

    def search_theirs(batch=queries):
        return theirs.knn_query(batch, k=CUTOFF)[0]

    our = smallest_expansion(search_ours, ours.set_expansion, truth, queries, EXPANSIONS)
    their = smallest_expansion(search_theirs, theirs.set_ef, truth, queries, EXPANSIONS)
    a, b = in_turn(search_ours, search_theirs, rounds=ROUNDS)
    n = len(queries)
    return Ratio(
        "search: batch queries/s, USearch against hnswlib",
        median_ratio([n / t for t in a], [n / t for t in b]),
        n / statistics.median(a),
        n / statistics.median(b),
        "queries/s",
        ">= 0.7",
        f"recall@10 {our[1]:.4f} at expansion {our[0]} / {their[1]:.4f} at ef {their[0]}, "
        f"{THREADS} threads",
    )


def single_ratio(ours: UsearchIndex, vectors: np.ndarray, queries: np.ndarray) -> Ratio:
    """Return one-by-one queries per second with the exact re-rank, against exact search."""
    exact = ExactIndex(vectors)
    tuning = ours.tune(queries)
    c, d = in_turn(
        lambda: [ours.search(q, cutoff=CUTOFF) for q in queries],
        lambda: [exact.search(q, cutoff=CUTOFF) for q in queries],
        rounds=3,
    )
    n = len(queries)
    return Ratio(
        "search: single queries/s with exact re-rank, against exact",
        median_ratio([n / t for t in c], [n / t for t in d]),
        n / statistics.median(c),
        n / statistics.median(d),
        "queries/s",
        None,
        f"recall@10 {tuning.recall_at_10:.4f} at expansion {tuning.expansion_search}",
    )


def run() -> list[Ratio]:
    """Measure and return the ratios."""
    rng = np.random.default_rng(20261120)
    centres = rng.normal(size=(N_CLUSTERS, DIMENSION))
    vectors, queries = clustered(N_VECTORS, rng, centres), clustered(N_QUERIES, rng, centres)
    ours = UsearchIndex.build(vectors)
    return [batch_ratio(ours, vectors, queries), single_ratio(ours, vectors, queries[:200])]


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
