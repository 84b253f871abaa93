"""Site adapters against references: scikit-learn's LDA, whitening, gradients, and what may win."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from cds.domain.errors import CdsError, Reason
from models.adapter_selection import choose, group_folds
from models.evaluation.held_out import answered
from models.labelled_vectors import MIN_GROUPS, LabelledVectors, learnable
from models.site_adapter import (
    CANDIDATES,
    IDENTITY,
    Candidate,
    contrast_gradient,
    discriminant_axes,
    fitted,
    scatters,
    whitening_matrix,
)

D = 12
FAST = (Candidate(IDENTITY), Candidate("whitening", 0.1), Candidate("lda", 0.1, 3.0))


def unit(vectors: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float32
    )
    return scaled


def planted(
    *, n: int = 160, signal: float = 0.6, n_collections: int = 2, seed: int = 0
) -> LabelledVectors:
    """Two classes per collection along one weak axis, under strong noise on three others."""
    generator = np.random.default_rng(seed)
    collections = np.arange(n) % n_collections
    label = generator.integers(2, size=n)
    vectors = generator.normal(scale=0.25, size=(n, D))
    vectors[:, :3] *= 8.0
    vectors[:, 5] += signal * (2 * label - 1)
    vectors[:, 7] += 6.0 * collections  # what sets the collections apart
    return LabelledVectors(unit(vectors), 2 * collections + label, collections, np.arange(n))


def test_discriminant_axes_without_shrinkage_span_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    classes = np.arange(300) % 3
    means = generator.normal(size=(3, D))
    vectors = means[classes] + generator.normal(size=(300, D)) * np.linspace(0.5, 2.0, D)
    labelled = LabelledVectors(
        vectors.astype(np.float32), classes, np.zeros(300, np.intp), np.arange(300)
    )
    within, between = scatters(vectors, labelled)
    whitening, axes = discriminant_axes(within, between, shrinkage=0.0, n_axes=2)
    ours = (vectors - vectors.mean(axis=0)) @ whitening @ axes
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit_transform(vectors, classes)
    both = np.corrcoef(np.hstack([ours, theirs]).T)[:2, 2:]
    np.testing.assert_allclose(np.abs(np.diag(both)), 1.0, atol=1e-6)


def test_whitening_makes_the_within_class_scatter_a_sphere() -> None:
    labelled = planted()
    within, _ = scatters(labelled.vectors.astype(np.float64), labelled)
    matrix = whitening_matrix(within, 0.0)
    np.testing.assert_allclose(matrix @ within @ matrix, np.eye(D), atol=1e-6)
    full = whitening_matrix(within, 1.0)
    np.testing.assert_allclose(full, full[0, 0] * np.eye(D), atol=1e-6)


def test_scatters_do_not_change_when_a_collection_is_moved_away() -> None:
    labelled = planted()
    vectors = labelled.vectors.astype(np.float64)
    moved = vectors + np.where(labelled.collections == 1, 5.0, 0.0)[:, None]
    for one, other in zip(scatters(vectors, labelled), scatters(moved, labelled), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_contrast_gradient_is_that_of_finite_differences() -> None:
    generator = np.random.default_rng(1)
    matrix = generator.normal(size=(5, 4))
    vectors, classes = generator.normal(size=(9, 5)), np.array([0, 0, 1, 1, 1, 0, 2, 1, 0])
    _, gradient = contrast_gradient(matrix, vectors, classes)
    for place in [(0, 0), (2, 3), (4, 1)]:
        moved = matrix.copy()
        moved[place] += 1e-6
        up = contrast_gradient(moved, vectors, classes)[0]
        moved[place] -= 2e-6
        down = contrast_gradient(moved, vectors, classes)[0]
        assert gradient[place] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda one: one.name)
def test_every_candidate_gives_unit_rows_and_the_same_map_twice(candidate: Candidate) -> None:
    labelled = planted()
    ((_, first),) = fitted(labelled, (candidate,), seed=4)
    ((_, second),) = fitted(labelled, (candidate,), seed=4)
    rows = first(labelled.vectors)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(rows, second(labelled.vectors))


@pytest.mark.parametrize("method", ["whitening", "lda", "nca", "contrastive"])
def test_every_method_finds_a_planted_axis_that_the_encoder_drowns(method: str) -> None:
    candidate = next(one for one in CANDIDATES if one.method == method)
    library, queries = planted(), planted(seed=9)
    queries = replace(queries, groups=queries.groups + 1000)
    maps = [m for _, m in fitted(library, (Candidate(IDENTITY), candidate), seed=0)]
    before, after = (
        np.mean([a.first.mean() for a in answered(one, queries, library).values()]) for one in maps
    )
    assert after > before + 0.1


def test_choice_when_the_labels_are_planted_gains_on_patients_who_chose_nothing() -> None:
    choice = choose(planted(n=240), seed=0, candidates=FAST)
    assert not choice.is_identity
    assert choice.gain["P@1"].low > 0.0
    assert choice.gain["P@1"].value == pytest.approx(
        choice.after["P@1"].value - choice.before["P@1"].value
    )
    assert set(choice.by_collection) == {0, 1}


def test_choice_when_labels_are_noise_is_the_identity() -> None:
    labelled = planted(n=240)
    shuffled = np.random.default_rng(5).integers(2, size=len(labelled))
    noise = replace(labelled, classes=2 * labelled.collections + shuffled)
    choice = choose(noise, seed=0, candidates=FAST)
    assert choice.is_identity
    assert choice.linear_map.matrix is None


def test_choice_counts_its_steps() -> None:
    seen: list[tuple[int, int]] = []
    choose(planted(), seed=0, candidates=FAST, progress=lambda *step: seen.append(step))
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


def test_folds_keep_every_patient_together() -> None:
    labelled = replace(planted(), groups=np.arange(160) // 4)
    folds = group_folds(labelled, 5, seed=2)
    for group in np.unique(labelled.groups):
        assert np.unique(folds[labelled.groups == group]).size == 1
    assert np.unique(folds).size == 5


def test_answers_never_come_from_the_query_s_own_patient() -> None:
    labelled = replace(planted(), groups=np.arange(160) // 4)
    ((_, identity),) = fitted(labelled, (Candidate(IDENTITY),), seed=0)
    for number, answers in answered(identity, labelled, labelled).items():
        held = labelled.part(labelled.collections == number)
        assert (held.groups[answers.neighbor] != answers.groups).all()


def test_too_few_labelled_patients_are_refused_with_the_count() -> None:
    few = planted().part(np.arange(MIN_GROUPS - 2))
    with pytest.raises(CdsError, match=f"at least {MIN_GROUPS} labelled patients") as refused:
        learnable(few)
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_many_pictures_of_few_patients_do_not_count_as_many() -> None:
    labelled = replace(planted(n=400), groups=np.arange(400) % 20)
    with pytest.raises(CdsError):
        learnable(labelled)


def test_collection_with_one_label_teaches_nothing() -> None:
    labelled = planted(n=320)
    classes = np.where(labelled.collections == 1, 2, labelled.classes)
    kept = learnable(replace(labelled, classes=classes))
    assert set(kept.collections.tolist()) == {0}
