"""Index of 1,000,000 x 256 clustered vectors: build, open, search, beside faiss-HNSW and hnswlib.

Not among the benchmarks that run by default: it takes half an hour on two cores and 8 GB of memory.
``python -m bench million`` runs it.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np

from bench.measure import Ratio, seconds
from bench.search import CUTOFF, DIMENSION, THREADS, clustered, recall
from cds.adapters.usearch_index import CONNECTIVITY, EXPANSION_ADD, UsearchIndex

N_VECTORS, N_CLUSTERS, N_QUERIES = 1_000_000, 10_000, 500
CHUNK = 100_000
EXPANSIONS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
WANTED_RECALL = 0.98
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Figures:
    """What one library took: seconds, bytes, queries per second on one thread."""

    name: str
    build_s: float
    open_s: float
    file_bytes: int
    queries_per_s: float
    recall_at_10: float
    expansion: int

    def line(self) -> str:
        """Return the figures as one line for a person."""
        return (
            f"{self.name:<12} build {self.build_s:7.0f} s   open {self.open_s:6.2f} s   "
            f"file {self.file_bytes / 2**20:6.0f} MiB   {self.queries_per_s:7.0f} queries/s at "
            f"recall@10 {self.recall_at_10:.4f} (expansion {self.expansion})"
        )


def vectors_and_queries() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors, queries and each query's ten nearest rows by exact search."""
    rng = np.random.default_rng(20261126)
    centres = rng.normal(size=(N_CLUSTERS, DIMENSION))
    vectors = np.concatenate(
        [clustered(CHUNK, rng, centres) for _ in range(0, N_VECTORS, CHUNK)], axis=0
    )
    queries = clustered(N_QUERIES, rng, centres)
    best = np.full((N_QUERIES, CUTOFF), -np.inf, dtype=np.float32)
    rows = np.zeros((N_QUERIES, CUTOFF), dtype=np.int64)
    for start in range(0, N_VECTORS, CHUNK):
        products = queries @ vectors[start : start + CHUNK].T
        found = np.argpartition(-products, CUTOFF, axis=1)[:, :CUTOFF]
        both = np.concatenate([best, np.take_along_axis(products, found, axis=1)], axis=1)
        numbers = np.concatenate([rows, found + start], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :CUTOFF]
        best, rows = (np.take_along_axis(x, order, axis=1) for x in (both, numbers))
    return vectors, queries, rows


def measured(
    name: str,
    times: tuple[float, float, int],
    search: Callable[[np.ndarray], np.ndarray],
    set_expansion: Callable[[int], None],
    questions: tuple[np.ndarray, np.ndarray],
) -> Figures:
    """Tune to the wanted recall, then time one query at a time on one thread."""
    queries, truth = questions
    for expansion in EXPANSIONS:
        set_expansion(expansion)
        reached = recall(np.concatenate([search(q) for q in queries]), truth)
        if reached >= WANTED_RECALL:
            break
    rounds = [seconds(lambda: [search(q) for q in queries]) for _ in range(ROUNDS)]
    build_s, open_s, file_bytes = times
    per_s = len(queries) / statistics.median(rounds)
    return Figures(name, build_s, open_s, file_bytes, per_s, reached, expansion)


def ours(folder: Path, vectors: np.ndarray, questions: tuple[np.ndarray, np.ndarray]) -> Figures:
    """Build, save, check the SHA-256, memory-map, and search with the exact re-rank."""
    started = time.perf_counter()
    built = UsearchIndex.build(vectors, threads=THREADS)
    build_s = time.perf_counter() - started
    file = folder / "graph.usearch"
    built.save(file)
    del built
    stored = folder / "vectors.npy"
    np.save(stored, vectors)
    started = time.perf_counter()
    for checked in (file, stored):  # as the product does before it opens a generation
        with checked.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
    index = UsearchIndex.view(file, vectors, expansion_search=EXPANSIONS[0])
    open_s = time.perf_counter() - started
    return measured(
        "USearch",
        (build_s, open_s, file.stat().st_size),
        lambda query: index.search(query, cutoff=CUTOFF)[0][None],
        index.set_expansion,
        questions,
    )


def of_hnswlib(
    folder: Path, vectors: np.ndarray, questions: tuple[np.ndarray, np.ndarray]
) -> Figures:
    """Build, save, load and search hnswlib with the same connectivity."""
    index = hnswlib.Index(space="ip", dim=DIMENSION)
    index.init_index(max_elements=len(vectors), M=CONNECTIVITY, ef_construction=EXPANSION_ADD)
    build_s = seconds(partial(index.add_items, vectors, num_threads=THREADS))
    file = folder / "graph.hnswlib"
    index.save_index(str(file))
    loaded = hnswlib.Index(space="ip", dim=DIMENSION)
    open_s = seconds(lambda: loaded.load_index(str(file), max_elements=len(vectors)))
    del index
    return measured(
        "hnswlib",
        (build_s, open_s, file.stat().st_size),
        lambda query: loaded.knn_query(query, k=CUTOFF, num_threads=1)[0],
        loaded.set_ef,
        questions,
    )


def of_faiss(
    folder: Path, vectors: np.ndarray, questions: tuple[np.ndarray, np.ndarray]
) -> Figures:
    """Build, write, read and search faiss' HNSW with the same connectivity."""
    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexHNSWFlat(DIMENSION, CONNECTIVITY, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EXPANSION_ADD
    build_s = seconds(partial(index.add, vectors))
    file = folder / "graph.faiss"
    faiss.write_index(index, str(file))
    del index
    started = time.perf_counter()
    loaded: Any = faiss.read_index(str(file))  # of the base class, as faiss types it
    open_s = time.perf_counter() - started
    faiss.omp_set_num_threads(1)

    def set_expansion(expansion: int) -> None:
        loaded.hnsw.efSearch = expansion

    return measured(
        "faiss-HNSW",
        (build_s, open_s, file.stat().st_size),
        lambda query: loaded.search(query[None], CUTOFF)[1],
        set_expansion,
        questions,
    )


def run() -> list[Ratio]:
    """Measure the three in one run; print each, return ours against each peer."""
    vectors, queries, truth = vectors_and_queries()
    questions = (queries, truth)
    found = []
    for contender in (ours, of_hnswlib, of_faiss):
        with tempfile.TemporaryDirectory() as folder:
            found.append(contender(Path(folder), vectors, questions))
        print(found[-1].line(), flush=True)
    first, *peers = found
    ratios = []
    for peer in peers:
        what = f"million: queries/s one by one, USearch against {peer.name}"
        note = f"recall@10 {first.recall_at_10:.4f} / {peer.recall_at_10:.4f}"
        ours_per_s, peer_per_s = first.queries_per_s, peer.queries_per_s
        ratios.append(
            Ratio(what, ours_per_s / peer_per_s, ours_per_s, peer_per_s, "queries/s", None, note)
        )
        what = f"million: build time, USearch against {peer.name}"
        ratio = first.build_s / peer.build_s
        ratios.append(Ratio(what, ratio, first.build_s, peer.build_s, "s"))
    return ratios


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
