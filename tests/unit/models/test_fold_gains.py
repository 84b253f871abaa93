"""Gains over folds against direct computations."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from models.evaluation.fold_gains import gains, resampled, weighted_auroc
from models.evaluation.held_out import Answers


def some_answers(seed: int, n_classes: int, n_queries: int = 30) -> Answers:
    """Queries of ten patients whose voters lean towards their class."""
    generator = np.random.default_rng(seed)
    classes = generator.integers(n_classes, size=n_queries)
    leaning = generator.random((n_queries, 15)) < 0.4
    voters = np.where(
        leaning, classes[:, None], generator.integers(n_classes, size=(n_queries, 15))
    )
    return Answers(
        first=(voters[:, 0] == classes).astype(np.float64),
        fifth=(voters[:, :5] == classes[:, None]).mean(axis=1),
        voters=voters,
        neighbor=voters[:, 0],
        classes=classes,
        groups=generator.integers(10, size=n_queries),
    )


def share(answers: Answers, number: int) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = (answers.voters == number).mean(axis=1)
    return shares


def test_weighted_auroc_equals_that_of_repeated_queries() -> None:
    answers = some_answers(0, 2)
    weights = np.random.default_rng(1).integers(4, size=(5, 30))

    areas = weighted_auroc(answers, weights)

    for area, row in zip(areas, weights, strict=True):
        drawn = np.repeat(np.arange(30), row)
        expected = roc_auc_score(answers.classes[drawn] == 1, share(answers, 1)[drawn])
        assert area == pytest.approx(expected)


def test_weighted_auroc_of_three_classes_is_the_mean_over_them() -> None:
    answers = some_answers(2, 3)

    (area,) = weighted_auroc(answers, np.ones((1, 30), dtype=np.intp))

    expected = [roc_auc_score(answers.classes == c, share(answers, c)) for c in range(3)]
    assert area == pytest.approx(np.mean(expected))


def test_weighted_auroc_without_one_side_is_no_number() -> None:
    answers = some_answers(0, 2)

    (area,) = weighted_auroc(answers, (answers.classes == 1).astype(np.intp)[None])

    assert np.isnan(area)


def test_gains_are_those_of_all_queries_and_their_interval_is_paired() -> None:
    pairs = [(some_answers(seed, 2), some_answers(seed + 50, 2)) for seed in range(3)]
    same = [(before, before) for before, _ in pairs]

    found, none = gains(resampled(pairs)), gains(resampled(same))

    first = found["P@1"]
    assert first.before.value == pytest.approx(np.concatenate([b.first for b, _ in pairs]).mean())
    assert first.gain.value == pytest.approx(first.after.value - first.before.value)
    assert first.gain.low < first.gain.value < first.gain.high
    assert first.before.low < first.before.high
    assert (none["P@1"].gain.low, none["AUROC"].gain.high) == (0.0, 0.0)
