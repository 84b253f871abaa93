"""One suite for every VectorIndex: exact and USearch give the same answers."""

import numpy as np
import pytest

from cds.adapters.exact_index import ExactIndex
from cds.adapters.usearch_index import UsearchIndex


def clustered(n: int, d: int, *, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, d))
    points = centres[rng.integers(20, size=n)] + 0.5 * rng.normal(size=(n, d))
    unit: np.ndarray = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit.astype(np.float32)


VECTORS = clustered(600, 24, seed=1)
QUERIES = clustered(20, 24, seed=2)


@pytest.fixture(params=["exact", "usearch"])
def index(request):
    if request.param == "exact":
        return ExactIndex(VECTORS)
    approximate = UsearchIndex.build(VECTORS, threads=1)  # several threads: another graph each time
    approximate.set_expansion(len(VECTORS))  # as wide as the set: what is left is the re-rank
    return approximate


def by_hand(query: np.ndarray, cutoff: int, positions=None) -> list[int]:
    allowed = range(len(VECTORS)) if positions is None else positions.tolist()
    products = {int(i): float(np.dot(VECTORS[i], query)) for i in allowed}
    return sorted(products, key=lambda i: (-products[i], i))[:cutoff]


def test_search_without_positions_returns_the_best_first(index):
    for query in QUERIES:
        positions, products = index.search(query, cutoff=5)
        assert positions.tolist() == by_hand(query, 5)
        assert np.allclose(products, VECTORS[positions] @ query, atol=1e-6)


def test_search_with_positions_returns_only_those(index):
    partition = np.arange(0, 600, 7)
    positions, _ = index.search(QUERIES[0], cutoff=5, positions=partition)
    assert positions.tolist() == by_hand(QUERIES[0], 5, partition)


def test_search_with_cutoff_above_size_returns_all_of_the_partition(index):
    positions, products = index.search(QUERIES[0], cutoff=50, positions=np.array([3, 5, 8]))
    assert sorted(positions.tolist()) == [3, 5, 8]
    assert (np.diff(products) <= 0).all()


def test_search_with_equal_vectors_orders_by_position():
    same = np.tile(VECTORS[:1], (30, 1))
    for made in (ExactIndex(same), UsearchIndex.build(same)):
        positions, _ = made.search(VECTORS[0], cutoff=4, positions=np.arange(30))
        assert positions.tolist() == [0, 1, 2, 3]


def test_tune_reaches_the_recall_that_it_reports():
    index = UsearchIndex.build(VECTORS, threads=1)
    tuning = index.tune(QUERIES)
    found = [set(index.search(q, cutoff=10)[0].tolist()) for q in QUERIES]
    recall = np.mean(
        [len(f & set(by_hand(q, 10))) / 10 for f, q in zip(found, QUERIES, strict=True)]
    )
    assert recall == pytest.approx(tuning.recall_at_10)
    assert recall >= 0.995


def test_exact_index_of_wrong_type_is_refused():
    with pytest.raises(ValueError, match="float32"):
        ExactIndex(VECTORS.astype(np.float64))
