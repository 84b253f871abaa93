"""Classification, calibration and abstention against scikit-learn and hand-worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from models.evaluation.abstention import risks_at
from models.evaluation.bootstrap import Resamples
from models.evaluation.calibration import (
    LOGIT_MARGIN,
    calibration_of,
    expected_calibration_error,
    logistic_fit,
    logistic_offset,
    null_calibration_error,
    reliability_bins,
)
from models.evaluation.classification import (
    classification_estimates,
    confusion_of,
    counted_measures,
    drawn_ranked_measures,
    linear_probe,
    majority_measures,
    neighbor_shares,
    ranked_measures,
)
from models.evaluation.retrieval import nearest
from tests.unit.models.evaluation_sets import a_set, clustered

truths = st.lists(st.integers(0, 2), min_size=6, max_size=40)


@pytest.mark.parametrize("n_classes", [2, 3])
@given(data=st.data())
@settings(max_examples=60)
def test_counted_measures_equal_those_of_scikit_learn(n_classes: int, data: st.DataObject) -> None:
    classes = st.lists(st.integers(0, n_classes - 1), min_size=30, max_size=30)
    truth, decisions = np.array(data.draw(classes)), np.array(data.draw(classes))
    labels = [1] if n_classes == 2 else list(range(n_classes))

    found = counted_measures(confusion_of(truth, decisions, n_classes))

    how = {"labels": labels, "average": "macro", "zero_division": 0.0}
    specificities = [
        metrics.recall_score(truth != c, decisions != c, zero_division=0.0) for c in labels
    ]
    expected = [
        metrics.accuracy_score(truth, decisions),
        metrics.precision_score(truth, decisions, **how),
        metrics.recall_score(truth, decisions, **how),
        np.mean(specificities),
        metrics.f1_score(truth, decisions, **how),
    ]
    assert found.tolist() == pytest.approx(expected)


def test_confusion_equals_that_of_scikit_learn() -> None:
    truth, decisions = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2])

    found = confusion_of(truth, decisions, 3)

    assert found.tolist() == metrics.confusion_matrix(truth, decisions).tolist()


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("n_levels", [4, 1000])
def test_drawn_areas_equal_those_of_scikit_learn_in_every_draw(
    n_classes: int, n_levels: int
) -> None:
    generator = np.random.default_rng(5)
    truth = generator.integers(0, n_classes, size=80)
    raw = np.round(generator.random((80, n_classes)) * n_levels) / n_levels
    draws = Resamples.of_patients(np.arange(80) // 2, seed=1, n_resamples=20)

    found = drawn_ranked_measures(truth, raw, draws)

    for draw, values in zip(draws.draws, found, strict=True):
        assert values.tolist() == pytest.approx(ranked_measures(truth[draw], raw[draw]).tolist())


def test_areas_when_a_draw_lacks_a_class_are_not_a_number() -> None:
    truth, raw = np.array([0, 1]), np.array([[0.4, 0.6], [0.3, 0.7]])
    only_first = Resamples(2, (np.array([0, 0]), np.array([0, 1])))

    found = drawn_ranked_measures(truth, raw, only_first)

    assert np.isnan(found[0]).all()
    assert found[1].tolist() == [1.0, 1.0]


def test_votes_are_shares_of_those_who_may_vote_and_ties_go_to_the_nearer() -> None:
    vectors = np.array([[1, 0], [0.9, 0.1], [0.8, 0.3], [0.1, 1.0]], dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    data = a_set([0, 1, 0, 1], queries=[0])

    said = neighbor_shares(nearest(vectors, data), 2)

    assert said.raw_probabilities[0].tolist() == pytest.approx([1 / 3, 2 / 3])
    tie = neighbor_shares(nearest(vectors, a_set([0, 0, 1, 1], groups=[0, 1, 2, 0])), 2)
    assert tie.raw_probabilities[0].tolist() == [0.5, 0.5]
    assert tie.decisions[0] == 0


def test_majority_class_gives_its_share_and_no_ranking() -> None:
    found = majority_measures(a_set([0, 0, 0, 1]))

    assert found["Accuracy"] == 0.75
    assert found["Recall = sensitivity"] == 0.0
    assert found["Specificity"] == 1.0
    assert found["AUROC"] == 0.5
    assert found["AUPRC"] == 0.25


@pytest.mark.parametrize("is_divided", [False, True])
def test_probe_finds_what_is_linear_and_nothing_in_noise(*, is_divided: bool) -> None:
    labels = [0, 1, 2] * 30
    data = a_set(labels, queries=range(0, 90, 4) if is_divided else None)
    noise = clustered([0] * 90, spread=1.0, seed=2)

    clear = linear_probe(clustered(labels, spread=0.1, seed=1), data, seed=0)
    blind = linear_probe(noise, data, seed=0)

    assert (clear.decisions == data.query_labels).all()
    assert clear.raw_probabilities.sum(axis=1) == pytest.approx(np.ones(len(data.queries)))
    assert (blind.decisions == data.query_labels).mean() < 0.6


def test_probe_never_learns_from_a_query_s_own_group() -> None:
    """Two groups hold all pictures of a class pair: leaking them would make noise separable."""
    generator = np.random.default_rng(0)
    person = generator.normal(size=(30, 16))
    vectors = np.repeat(person, 4, axis=0) + 0.01 * generator.normal(size=(120, 16))
    labels = np.repeat(generator.permutation([0, 1] * 15), 4)
    data = a_set(labels.tolist(), groups=np.repeat(np.arange(30), 4).tolist())

    said = linear_probe(vectors.astype(np.float32), data, seed=0)

    assert (said.decisions == labels).mean() < 0.85


def test_estimates_hold_their_value_and_narrow_with_more_patients() -> None:
    labels = [0, 1] * 100
    vectors = clustered(labels, spread=0.5, seed=4)
    data = a_set(labels)
    said = neighbor_shares(nearest(vectors, data), 2)
    by_picture = Resamples.of_patients(np.arange(200), seed=0, n_resamples=200)
    by_ten = Resamples.of_patients(np.arange(200) // 40, seed=0, n_resamples=200)

    narrow, _ = classification_estimates(data.query_labels, said, by_picture)
    wide, drawn = classification_estimates(data.query_labels, said, by_ten)

    for name, estimate in narrow.items():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.value == wide[name].value
        assert len(drawn[name]) == 200


# Calibration


@pytest.mark.parametrize("seed", range(4))
def test_logistic_fit_equals_that_of_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=300)
    outcomes = (generator.random(300) < 1 / (1 + np.exp(-(0.4 + 0.7 * logits)))).astype(np.intp)

    intercept, slope = logistic_fit(outcomes, logits)

    peer = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000).fit(logits[:, None], outcomes)
    assert slope == pytest.approx(peer.coef_[0, 0], abs=1e-4)
    assert intercept == pytest.approx(peer.intercept_[0], abs=1e-4)


def test_logistic_fit_when_outcomes_are_separated_or_alone_is_not_a_number() -> None:
    logits = np.linspace(-2, 2, 10)

    assert math.isnan(logistic_fit((logits > 0).astype(np.intp), logits)[1])
    assert math.isnan(logistic_fit(np.ones(10, np.intp), logits)[1])
    assert math.isnan(logistic_fit(np.array([0, 1] * 5), np.zeros(10))[1])
    assert math.isnan(logistic_offset(np.ones(10, np.intp), logits))


def test_offset_moves_the_mean_probability_to_the_mean_outcome() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=500)
    outcomes = (generator.random(500) < 0.8).astype(np.intp)

    offset = logistic_offset(outcomes, logits)

    moved = 1 / (1 + np.exp(-(logits + offset)))
    assert moved.mean() == pytest.approx(outcomes.mean(), abs=1e-8)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
def test_calibration_error_equals_a_plain_loop(pairs: list[tuple[int, float]]) -> None:
    outcomes, probabilities = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])

    found = expected_calibration_error(outcomes, probabilities)

    expected = 0.0
    for number in range(10):
        inside = [i for i, p in enumerate(probabilities) if min(int(p * 10), 9) == number]
        if inside:
            gap = abs(np.mean(outcomes[inside]) - np.mean(probabilities[inside]))
            expected += len(inside) / len(pairs) * gap
    assert found == pytest.approx(expected)


def test_null_of_the_calibration_error_holds_true_probabilities_and_not_false_ones() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.random(400)
    null = null_calibration_error(probabilities, seed=1)
    true = (generator.random(400) < probabilities).astype(np.intp)
    false = (generator.random(400) < np.sqrt(probabilities)).astype(np.intp)

    assert null.low <= expected_calibration_error(true, probabilities) <= null.high
    assert expected_calibration_error(false, probabilities) > null.high
    assert 0.0 < null.low < null.value < null.high


def test_null_shrinks_with_the_number_of_queries() -> None:
    generator = np.random.default_rng(0)
    few, many = (null_calibration_error(generator.random(n), seed=1) for n in (50, 5000))

    assert few.value > 4 * many.value


def test_calibration_compares_brier_with_the_base_rate_of_the_library() -> None:
    outcomes = np.array([0, 1, 1, 0] * 20)
    probabilities = np.array([0.1, 0.9, 0.6, 0.4] * 20)
    draws = Resamples.of_patients(np.arange(80), seed=0, n_resamples=50)

    found = calibration_of("x", outcomes, probabilities, base_rate=0.25, resamples=draws, seed=0)

    assert found.brier.value == pytest.approx(metrics.brier_score_loss(outcomes, probabilities))
    assert found.brier_base_rate == pytest.approx((0.25**2 + 0.75**2) / 2)
    assert found.brier_skill.value == pytest.approx(1 - found.brier.value / found.brier_base_rate)
    assert sum(one.n for one in found.bins) == 80


def test_bins_hold_what_was_said_and_seen() -> None:
    found = reliability_bins(np.array([0, 1, 1]), np.array([0.05, 0.95, 1.0]))

    assert [(b.n, b.observed_share) for b in found] == [(1, 0.0), (2, 1.0)]
    assert found[1].mean_probability == pytest.approx(0.975)


def test_margin_of_the_logit_is_half_a_vote() -> None:
    assert pytest.approx(0.5 / 15) == LOGIT_MARGIN


# Abstention


def test_risk_equals_the_hand_counted_one() -> None:
    wrong = np.array([True, False, False, True])
    sureness = np.array([0.6, 0.9, 0.8, 0.7])

    found = risks_at(wrong, sureness, (0.25, 0.5, 0.75, 1.0))

    assert found.tolist() == pytest.approx([0.0, 0.0, 1 / 3, 0.5])


def test_risk_when_all_are_equally_sure_is_the_share_of_wrong_ones_everywhere() -> None:
    found = risks_at(np.array([True, False, False, False]), np.full(4, 0.7), (0.25, 0.5, 1.0))

    assert found.tolist() == pytest.approx([0.25, 0.25, 0.25])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40), st.randoms())
def test_risk_does_not_depend_on_the_order_of_the_queries(pairs: list, random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a Random

    one, other = (
        risks_at(np.array([p[0] for p in order]), np.array([p[1] for p in order], float))
        for order in (pairs, shuffled)
    )

    assert one == pytest.approx(other)
    assert one[-1] == pytest.approx(np.mean([p[0] for p in pairs]))
