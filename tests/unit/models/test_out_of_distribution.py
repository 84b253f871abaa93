"""The gate: what is unlike the library is told from what is like it, and limits hold."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from cds.domain.query import Eligibility
from cds.domain.similarity_limits import PictureGroup
from models.out_of_distribution import MIN_PATIENTS, REFUSED_SHARE, fit_gate

DIMENSION = 12
FILMS = PictureGroup("radiograph", "CHEST", "", "adult", "site")
OTHERS = PictureGroup("radiograph", "CHEST", "", "adult", "elsewhere")
SLICES = PictureGroup("CT", "CHEST", "", "adult", "site")
ANY = Eligibility(datetime(2026, 1, 1, tzinfo=UTC))


def vectors(n: int, axis: int, *, scatter: float = 0.1, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    raw = np.eye(DIMENSION)[axis] + scatter * rng.normal(size=(n, DIMENSION))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def gate_of(*parts: tuple[PictureGroup, Any]) -> Any:
    groups = [group for group, made in parts for _ in made]
    joined = np.concatenate([made for _, made in parts])
    return fit_gate(joined, groups, np.arange(len(groups)))


def test_picture_unlike_the_library_is_beyond_and_one_like_it_is_not():
    gate = gate_of((FILMS, vectors(200, 0)), (OTHERS, vectors(200, 1)))
    strange = gate.nearest(vectors(1, 5)[0], ANY)
    assert strange.is_beyond
    assert strange.share > 2
    for axis in (0, 1):
        assert not gate.nearest(vectors(1, axis, seed=9)[0], ANY).is_beyond


def test_limit_refuses_its_share_of_pictures_that_were_not_learnt():
    gate = gate_of((FILMS, vectors(2_000, 0)))
    unseen = gate.distances(vectors(2_000, 0, seed=1))[:, 0]
    assert np.mean(unseen > gate.classes[0].limit) == pytest.approx(REFUSED_SHARE, abs=0.01)


def test_scattered_class_has_no_looser_limit_than_its_kind():
    gate = gate_of((FILMS, vectors(300, 0)), (OTHERS, vectors(60, 1, scatter=0.6)))
    tight, loose = (next(c for c in gate.classes if c.group == g) for g in (FILMS, OTHERS))
    distances = gate.distances(vectors(60, 1, scatter=0.6))[:, gate.classes.index(loose)]
    assert tight.limit < loose.limit < np.quantile(distances, 1 - REFUSED_SHARE)


def test_query_is_held_against_its_own_kind_only():
    gate = gate_of((FILMS, vectors(100, 0)), (SLICES, vectors(100, 1)))
    slice_like = vectors(1, 1, seed=4)[0]
    asked_as_film = Eligibility(ANY.known_before, modalities=frozenset({"DX"}))
    asked_as_slice = Eligibility(ANY.known_before, modalities=frozenset({"CT"}))
    assert gate.nearest(slice_like, asked_as_film).is_beyond
    assert not gate.nearest(slice_like, asked_as_slice).is_beyond


def test_small_collections_are_one_class_together():
    few = [
        (PictureGroup("radiograph", "CHEST", "", "adult", name), vectors(12, 0, seed=i))
        for i, name in enumerate("ab")
    ]
    gate = gate_of((FILMS, vectors(100, 1)), *few)
    assert [one.group for one in gate.classes] == [PictureGroup("radiograph"), FILMS]
    assert gate.classes[0].n_patients == 24


def test_library_of_too_few_patients_has_no_gate():
    made = vectors(100, 0)
    assert fit_gate(made, [FILMS] * 100, np.arange(100) % (MIN_PATIENTS - 1)) is None


def test_equal_libraries_have_equal_gates():
    one, other = (gate_of((FILMS, vectors(100, 0)), (OTHERS, vectors(50, 1))) for _ in range(2))
    assert one.classes == other.classes
    assert np.array_equal(one.precision, other.precision)
