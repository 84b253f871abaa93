"""A site adapter as a value: exact file, exact map, nothing else accepted."""

from __future__ import annotations

import numpy as np
import pytest

from cds.domain.projection import AdapterRecord, Projection, adapter_sha256

RECORD = AdapterRecord(
    kind="lda",
    encoder_hash="e" * 64,
    fitted_at="2026-03-29T01:30:00+00:00",
    seed=0,
    n_cases=60,
    n_patients=50,
    n_by_label={"a: x": 30},
    validation={"gain": 0.1},
)


def a_projection(seed: int = 0) -> Projection:
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(6, 4)).astype(np.float32)
    return Projection(matrix, generator.normal(size=6).astype(np.float32) * 0.1, RECORD)


def test_file_when_read_again_is_the_same_adapter_and_the_same_bytes() -> None:
    one = a_projection()
    content = one.to_npz()
    other = Projection.from_npz(content)
    assert other.to_npz() == content
    assert other.record == RECORD
    np.testing.assert_array_equal(other.matrix, one.matrix)
    assert adapter_sha256(content) != adapter_sha256(a_projection(1).to_npz())


@pytest.mark.parametrize(
    "content", [b"", b"no zip", a_projection().to_npz()[:-40]], ids=["empty", "text", "cut"]
)
def test_file_when_damaged_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Projection.from_npz(content)


def test_vector_when_projected_alone_or_among_others_has_the_same_bits() -> None:
    vectors = np.random.default_rng(2).normal(size=(9, 6)).astype(np.float32)
    rows = a_projection().rows(vectors)
    for vector, row in zip(vectors, rows, strict=True):
        np.testing.assert_array_equal(a_projection()(vector), row)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)


def test_similarity_is_the_sum_over_pairs_of_places() -> None:
    """What keeps heat maps exact: the map is affine before the norm."""
    generator, adapter = np.random.default_rng(4), a_projection()
    maps = generator.normal(size=(2, 6, 3, 3))
    maps /= np.linalg.norm(maps.mean(axis=(2, 3)), axis=1)[:, None, None, None]
    projected = []
    for one in maps:
        places = (one.reshape(6, -1).T - adapter.mean) @ adapter.matrix
        projected.append(places / np.linalg.norm(places.mean(axis=0)))
    by_place = (projected[0] @ projected[1].T).mean()
    first, second = (adapter(one.mean(axis=(1, 2)).astype(np.float32)) for one in maps)
    assert by_place == pytest.approx(float(first @ second), abs=1e-5)


def test_picture_at_the_mean_resembles_nothing() -> None:
    adapter = a_projection()
    assert not adapter(adapter.mean).any()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_adapter_with_a_number_that_is_none_is_refused(bad: float) -> None:
    matrix = np.full((3, 2), bad, dtype=np.float32)
    with pytest.raises(ValueError, match="finite"):
        Projection(matrix, np.zeros(3, dtype=np.float32), RECORD)
