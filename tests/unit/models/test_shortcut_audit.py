"""The shortcut audit: planted shortcuts are named, and honest encoders are not accused."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.classification import neighbor_shares
from models.evaluation.dataset import SOURCE, VIEW
from models.evaluation.retrieval import nearest
from models.evaluation.shortcuts import ShortcutAudit, shortcut_audits
from models.evaluation.subgroups import subgroups
from tests.unit.models.evaluation_sets import a_set, clustered

N = 160


def audited(
    labels: np.ndarray, views: np.ndarray, follows: np.ndarray, *, spread: float = 0.15
) -> tuple[ShortcutAudit, tuple[str, ...]]:
    data = a_set(labels.tolist(), attributes={VIEW: [("PA", "AP")[v] for v in views]})
    vectors = clustered(follows.tolist(), spread=spread, seed=1)
    (audit,), silent = shortcut_audits(
        vectors, data, nearest(vectors, data), seed=0, n_resamples=100
    )
    return audit, silent


def crossed() -> tuple[np.ndarray, np.ndarray]:
    """Finding and view independent of each other."""
    return np.arange(N) % 2, (np.arange(N) // 2) % 2


def test_encoder_that_follows_the_view_is_named_as_a_shortcut() -> None:
    labels, views = crossed()

    audit, _ = audited(labels, views, views)

    assert audit.difference.low > 0.5
    assert "a likely shortcut" in audit.verdict
    assert "no more often than chance" in audit.verdict
    assert audit.agreement.lift.value == pytest.approx(2.0, abs=0.1)


def test_encoder_that_follows_the_finding_is_not_accused() -> None:
    labels, views = crossed()

    audit, _ = audited(labels, views, labels)

    assert audit.difference.high < -0.5
    assert audit.verdict.startswith("Neighbours agree on the view less than on the finding.")
    assert audit.finding_within is not None
    assert audit.finding_within.excess.value == pytest.approx(1.0, abs=0.05)
    assert audit.among_other_findings is None or audit.among_other_findings.excess.low < 0.2


def test_agreement_of_noise_is_that_of_chance() -> None:
    labels, views = crossed()

    audit, _ = audited(labels, views, np.zeros(N, dtype=int), spread=5.0)

    for agreement in (audit.agreement, audit.finding, audit.finding_within):
        assert agreement is not None
        assert agreement.excess.low < 0.05
        assert agreement.excess.high > -0.05
    assert "do not settle" in audit.verdict


def test_view_that_explains_the_finding_shows_nothing_within_one_view() -> None:
    """Finding goes with view in 9 of 10; the encoder sees the view alone."""
    views = np.arange(N) % 2
    labels = np.where(np.random.default_rng(4).random(N) < 0.1, 1 - views, views)

    audit, _ = audited(labels, views, views)

    assert audit.finding.excess.low > 0.4
    assert "no more often than chance" in audit.verdict


def test_source_that_is_the_label_cannot_be_separated_from_it() -> None:
    labels, _ = crossed()

    audit, _ = audited(labels, labels, labels)

    assert audit.finding_within is None
    assert "cannot be separated" in audit.verdict


def test_attribute_with_one_value_or_none_is_said_to_be_unseen() -> None:
    labels, views = crossed()

    _, silent = audited(labels, views, labels)

    assert len(silent) == 3
    assert all("cannot be seen here" in sentence for sentence in silent)


def test_queries_whose_value_is_not_stated_are_left_out_of_the_audit() -> None:
    labels = np.arange(N) % 2
    views = ["" if i % 4 == 0 else ("PA", "AP")[(i // 2) % 2] for i in range(N)]
    data = a_set(labels.tolist(), attributes={VIEW: views})
    vectors = clustered(labels.tolist(), spread=0.2, seed=0)

    (audit,), _ = shortcut_audits(vectors, data, nearest(vectors, data), seed=0, n_resamples=20)

    assert audit.n_queries == N - N // 4


def test_chance_equals_the_share_that_a_query_may_meet() -> None:
    labels = [0, 0, 1, 1, 0, 1]
    views = ["PA", "PA", "PA", "AP", "AP", "AP"]
    groups = [0, 0, 1, 2, 3, 4]
    data = a_set(labels, groups=groups, attributes={VIEW: views})
    vectors = clustered(labels, spread=0.3, seed=0)

    (audit,), _ = shortcut_audits(vectors, data, nearest(vectors, data), seed=0, n_resamples=5)

    # Each looks at min(5, eligible) neighbours: 4, 4, 5, 5, 5, 5 - all that it may meet.
    looked = [4, 4, 5, 5, 5, 5]
    shares = [1 / 4, 1 / 4, 2 / 5, 2 / 5, 2 / 5, 2 / 5]
    expected = sum(n * s for n, s in zip(looked, shares, strict=True)) / sum(looked)
    assert audit.agreement.chance == pytest.approx(expected)
    assert audit.agreement.observed == pytest.approx(expected)


def test_subgroups_count_patients_and_stay_silent_on_few() -> None:
    labels = [0, 1] * 30
    sources = ["big"] * 54 + ["small"] * 6
    data = a_set(labels, groups=(np.arange(60) // 2 * 2).tolist(), attributes={SOURCE: sources})
    vectors = clustered(labels, spread=0.2, seed=0)
    neighbors = nearest(vectors, data)

    big, small = subgroups(
        data,
        neighbors.relevant[:, 0].astype(float),
        neighbor_shares(neighbors, 2),
        seed=0,
        n_resamples=50,
    )

    assert (big.value, big.n_queries, big.n_patients) == ("big", 54, 27)
    assert big.precision_at_1 is not None
    assert (small.n_patients, small.precision_at_1, small.auroc) == (3, None, None)
