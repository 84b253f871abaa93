"""Measures of retrieval against hand-computed tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.evaluation.within_source import (
    RetrievalTask,
    measured,
    neighbor_auroc,
    precision_at,
    ranked,
)


def a_task(query: list[int], library: list[int], *, own: list[int] | None = None) -> RetrievalTask:
    """Classes of queries and library; `own` gives the library place of each query's own patient."""
    patients = np.arange(100, 100 + len(library))
    query_patients = np.arange(len(query)) if own is None else patients[own]
    return RetrievalTask(np.array(query), np.array(library), query_patients, patients)


@pytest.mark.parametrize(
    ("ranking", "cutoff", "expected"),
    [
        ([0, 1, 2, 3], 1, 1.0),
        ([0, 1, 2, 3], 2, 0.5),
        ([1, 0, 2, 3], 1, 0.0),
        ([1, 3, 0, 2], 4, 0.5),
        ([0, 2, 1, 3], 8, 0.25),
    ],
    ids=["first", "half", "none", "all", "k-above-n"],
)
def test_precision_equals_the_hand_computed_one(
    ranking: list[int], cutoff: int, expected: float
) -> None:
    task = a_task([1], [1, 0, 1, 0])

    assert precision_at(np.array([ranking]), task, cutoff=cutoff).tolist() == [expected]


def test_ranking_puts_ties_in_order_and_the_own_patient_last() -> None:
    library = np.eye(4, 2, dtype=np.float32)
    queries = np.array([[1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    task = a_task([0, 0], [0, 0, 0, 0], own=[3, 0])

    assert ranked(queries, library, task).tolist() == [[0, 1, 2, 3], [1, 2, 3, 0]]


def test_auroc_of_two_classes_equals_the_hand_computed_one() -> None:
    task = a_task([0, 0, 1, 1], [0, 0, 1, 1])
    ranking = np.array([[0, 1, 2, 3], [0, 2, 1, 3], [2, 0, 3, 1], [2, 3, 0, 1]])

    # Shares of class 1 among two voters: 0, 1/2 for class 0; 1/2, 1 for class 1.
    assert neighbor_auroc(ranking, task, n_voters=2) == pytest.approx(3.5 / 4)


def test_auroc_of_three_classes_is_the_mean_of_one_against_the_rest() -> None:
    task = a_task([0, 1, 2], [0, 1, 2])

    assert neighbor_auroc(np.array([[0, 1, 2], [1, 0, 2], [2, 0, 1]]), task, n_voters=1) == 1.0


def test_auroc_when_all_queries_are_of_one_class_is_not_a_number() -> None:
    task = a_task([1, 1], [0, 1])

    assert math.isnan(neighbor_auroc(np.array([[0, 1], [1, 0]]), task))


def test_majority_is_the_share_of_the_library_s_largest_class() -> None:
    assert a_task([0, 0, 0, 1], [1, 1, 0]).majority == 0.25


def test_measures_of_separated_classes_are_perfect_and_inside_their_interval() -> None:
    generator = np.random.default_rng(0)
    classes = np.array([0, 1] * 20)
    vectors = np.eye(2, dtype=np.float32)[classes] + generator.normal(scale=0.05, size=(40, 2))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    task = RetrievalTask(classes, classes, np.arange(40), np.arange(40))

    results = measured(vectors, vectors, task, seed=1)

    assert list(results) == ["P@1", "P@5", "AUROC"]
    for estimate in results.values():
        assert estimate.low <= estimate.value == estimate.high == 1.0


def test_intervals_by_patient_are_wider_than_by_picture() -> None:
    classes = np.repeat(np.arange(2), 60)
    found = np.repeat([0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 1], 10)
    vectors = np.eye(2, dtype=np.float32)[np.where(found == 1, classes, 1 - classes)]
    library = np.eye(2, dtype=np.float32)
    one_each = RetrievalTask(classes, np.arange(2), np.arange(120), np.array([900, 901]))
    ten_each = RetrievalTask(classes, np.arange(2), np.arange(120) // 10, np.array([900, 901]))

    narrow = measured(vectors, library, one_each, seed=1)["P@1"]
    wide = measured(vectors, library, ten_each, seed=1)["P@1"]

    assert narrow.value == wide.value == pytest.approx(7 / 12)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
