"""Measures of retrieval: hand-worked rankings, scikit-learn's nDCG, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from models.evaluation.retrieval import (
    DEPTH,
    NOBODY,
    average_precision,
    average_precision_of_hits,
    hit,
    majority_vote,
    nearest,
    normalised_gain,
    per_query,
    precision,
)
from tests.unit.models.evaluation_sets import a_set, unit_rows

rankings = st.lists(st.booleans(), min_size=DEPTH, max_size=DEPTH)


# Places of the hits among the first five, relevant cases in the library, then by hand:
# AP@5 by min(5, R), AP@5 by hits, P@5.
WORKED = [
    pytest.param([1, 2, 3, 4, 5], 9, 1.0, 1.0, 1.0, id="all-right"),
    pytest.param([], 9, 0.0, 0.0, 0.0, id="none-right"),
    pytest.param([1], 9, 1 / 5, 1.0, 0.2, id="first-only"),
    pytest.param([1, 2, 4], 9, (1 + 1 + 3 / 4) / 5, (1 + 1 + 3 / 4) / 3, 0.6, id="three"),
    pytest.param([2, 5], 2, (1 / 2 + 2 / 5) / 2, (1 / 2 + 2 / 5) / 2, 0.4, id="R-below-k"),
    pytest.param([5], 1, 1 / 5, 1 / 5, 0.2, id="one-relevant-last"),
    pytest.param([], 0, 0.0, 0.0, 0.0, id="nothing-relevant"),
]


def ranking_of(places: list[int]) -> np.ndarray:
    relevant = np.zeros((1, DEPTH), dtype=bool)
    relevant[0, [place - 1 for place in places]] = True
    return relevant


@pytest.mark.parametrize(("places", "n_relevant", "by_min", "by_hits", "at_five"), WORKED)
def test_average_precision_equals_the_hand_computed_one(
    places: list[int], n_relevant: int, by_min: float, by_hits: float, at_five: float
) -> None:
    relevant, r = ranking_of(places), np.array([n_relevant])

    assert average_precision(relevant, r, cutoff=5)[0] == pytest.approx(by_min)
    assert average_precision_of_hits(relevant, cutoff=5)[0] == pytest.approx(by_hits)
    assert precision(relevant, cutoff=5)[0] == pytest.approx(at_five)


def test_average_precision_of_hits_equals_the_figures_in_the_code_of_mahbod() -> None:
    """Their docstrings: labels y, y, n, y, n of 'y' print .92; 1, 1, 0, 1, 0 print .916."""
    relevant = ranking_of([1, 2, 4])

    assert round(average_precision_of_hits(relevant, cutoff=5)[0], 2) == 0.92


@pytest.mark.parametrize(
    ("classes", "truth", "expected"),
    [
        pytest.param([1, 1, 0, 0, 2], 1, 1.0, id="tie-counts-as-right"),
        pytest.param([0, 0, 0, 1, 1], 1, 0.0, id="outvoted"),
        pytest.param([0, 1, 2, 3, 4], 4, 1.0, id="all-different"),
        pytest.param([NOBODY] * 5, 0, 0.0, id="nobody-votes"),
        pytest.param([2, 2, 2, 1, 1], 2, 1.0, id="majority"),
    ],
)
def test_majority_vote_equals_the_hand_counted_one(
    classes: list[int], truth: int, expected: float
) -> None:
    assert majority_vote(np.array([classes]), np.array([truth]), cutoff=5)[0] == expected


@given(rankings, st.integers(0, 40))
def test_gain_equals_that_of_scikit_learn(places: list[bool], n_unseen: int) -> None:
    relevant = np.array([places])
    n_relevant = int(relevant.sum()) + n_unseen
    truth = np.concatenate([relevant[0], np.ones(n_unseen)]).astype(float)
    order = -np.arange(len(truth), dtype=float)

    found = normalised_gain(relevant, np.array([n_relevant]), cutoff=10)[0]

    expected = ndcg_score([truth], [order], k=10) if n_relevant else 0.0
    assert found == pytest.approx(expected)


@given(rankings, st.integers(0, 40))
def test_measures_stay_in_their_order(places: list[bool], n_unseen: int) -> None:
    relevant = np.array([places])
    r = np.array([int(relevant.sum()) + n_unseen])
    by_min = average_precision(relevant, r, cutoff=5)[0]

    assert 0.0 <= by_min <= average_precision_of_hits(relevant, cutoff=5)[0] + 1e-12 <= 1.0 + 1e-9
    assert hit(relevant, cutoff=1)[0] <= hit(relevant, cutoff=3)[0] <= hit(relevant, cutoff=5)[0]
    assert hit(relevant, cutoff=1)[0] == precision(relevant, cutoff=1)[0]


def test_ranking_never_meets_its_own_group_and_ties_go_by_position() -> None:
    vectors = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (5, 1))
    data = a_set(labels=[0, 0, 1, 1, 0], groups=[0, 0, 1, 2, 3])

    found = nearest(vectors, data)

    assert found.order[0, :4].tolist() == [2, 3, 4, NOBODY]
    assert found.order[2, :4].tolist() == [0, 1, 3, 4]
    assert found.n_relevant.tolist() == [1, 1, 1, 1, 2]


def test_ranking_equals_a_plain_loop() -> None:
    generator = np.random.default_rng(3)
    vectors = unit_rows(generator.normal(size=(60, 6)))
    groups = generator.integers(0, 25, size=60).tolist()
    labels = generator.integers(0, 3, size=60).tolist()
    data = a_set(labels=labels, groups=groups)

    found = nearest(vectors, data)

    for query in range(60):
        others = [i for i in range(60) if groups[i] != groups[query]]
        others.sort(key=lambda i: (-float(vectors[query] @ vectors[i]), i))
        assert found.order[query].tolist() == others[:DEPTH]
        assert found.n_relevant[query] == sum(labels[i] == labels[query] for i in others)


def test_query_with_nothing_to_find_counts_as_zero_and_does_not_vanish() -> None:
    vectors = unit_rows(np.eye(3))
    data = a_set(labels=[0, 0, 1], groups=[0, 1, 2])

    found = nearest(vectors, data)
    values = per_query(found, data.query_labels)

    assert found.n_without_relevant == 1
    assert all(len(column) == 3 for column in values.values())
    assert {name: column[2] for name, column in values.items()} == dict.fromkeys(values, 0.0)
