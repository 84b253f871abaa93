"""The encoder that comes with the product."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from cds.domain.errors import CdsError, Reason
from models import shipped
from models.embedder import OnnxImageEmbedder
from models.manifest import MODEL_FILE, read_manifest
from models.shipped import shipped_encoder
from tests.unit.models.radiographs import a_frame

if TYPE_CHECKING:
    from pathlib import Path

# First four learnt and first four general components for `a_frame(seed)`, seeds 0 and 1; made with
# onnxruntime 1.31.1 on x86-64: `OnnxImageEmbedder.from_folder(shipped_encoder()).embed(...)`.
CHOSEN = [0, 1, 2, 3, 32, 33, 34, 35]
GOLDEN = [
    [-0.22861, 0.19117, -0.04678, -0.09136, -0.03944, 0.17262, -0.14635, 0.02621],
    [-0.23371, 0.19366, -0.02979, -0.08065, -0.03845, 0.14866, -0.12459, 0.01394],
]

PERMISSIVE_SOURCES = {
    "covid_chestxray",
    "hannover_covid",
    "kaggle4_cxr",
    "nih_chestxray14_subset",
}


@pytest.fixture(scope="module")
def embedder() -> OnnxImageEmbedder:
    return OnnxImageEmbedder.from_folder(shipped_encoder())


def test_shipped_encoder_gives_unit_vectors_and_projected_maps(embedder: OnnxImageEmbedder) -> None:
    (embedding,) = embedder.embed([a_frame()])

    assert embedding.feature_map is not None
    mean = embedding.feature_map.mean(axis=(1, 2))
    assert embedding.vector.shape == (256,)
    assert embedding.feature_map.shape == (256, 7, 7)
    assert np.allclose(embedding.vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_shipped_encoder_of_a_batch_equals_the_loop_of_singles(embedder: OnnxImageEmbedder) -> None:
    frames = [a_frame(seed) for seed in range(3)]

    for together, frame in zip(embedder.embed(frames), frames, strict=True):
        assert np.allclose(together.vector, embedder.embed([frame])[0].vector, atol=1e-5)


def test_shipped_encoder_gives_its_golden_vectors(embedder: OnnxImageEmbedder) -> None:
    embeddings = embedder.embed([a_frame(0), a_frame(1)])

    actual = np.stack([embedding.vector[CHOSEN] for embedding in embeddings])
    assert np.allclose(actual, np.array(GOLDEN), atol=2e-3)


def test_shipped_encoder_was_trained_on_permissive_rows_only() -> None:
    training = read_manifest(shipped_encoder()).training

    assert {row.source for row in training} <= PERMISSIVE_SOURCES
    assert not [row for row in training if {"NC", "ND", "SA"} & set(row.licence.split("-"))]
    assert all(row.n_pictures >= row.n_patients > 0 for row in training)


def test_shipped_encoder_is_small_enough_to_ship() -> None:
    assert (shipped_encoder() / MODEL_FILE).stat().st_size <= 16 * 1024 * 1024


def test_shipped_encoder_when_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shipped, "_ENCODERS", tmp_path)

    with pytest.raises(CdsError) as refusal:
        shipped_encoder()

    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE
