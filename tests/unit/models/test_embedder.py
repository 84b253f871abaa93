"""Invariants of the ONNX embedder, and what it refuses to open."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from models.embedder import OnnxImageEmbedder
from models.manifest import MANIFEST_FILE, MODEL_FILE, PREPROCESSOR_FILE, read_manifest
from tests.unit.models.radiographs import a_frame, a_radiograph
from tests.unit.models.tiny_encoder import DIMENSION, tiny_encoder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_encoder(tmp_path / "tiny")


@pytest.fixture
def embedder(folder: Path) -> OnnxImageEmbedder:
    return OnnxImageEmbedder.from_folder(folder)


def test_embedding_has_unit_norm_and_its_feature_map_as_mean(embedder: OnnxImageEmbedder) -> None:
    (embedding,) = embedder.embed([a_frame()])

    assert embedding.feature_map is not None
    mean = embedding.feature_map.mean(axis=(1, 2))
    assert embedding.vector.shape == (embedder.dimension,) == (DIMENSION,)
    assert np.linalg.norm(embedding.vector) == pytest.approx(1.0, abs=1e-5)
    assert np.allclose(embedding.vector, mean / np.linalg.norm(mean), atol=1e-5)
    assert embedding.encoder_hash == embedder.encoder_hash


def test_embedding_of_a_batch_equals_the_loop_of_singles(embedder: OnnxImageEmbedder) -> None:
    frames = [a_frame(seed) for seed in range(19)]

    batch = embedder.embed(frames)
    singles = [embedder.embed([frame])[0] for frame in frames]

    assert len(batch) == len(frames)
    for together, alone in zip(batch, singles, strict=True):
        assert np.allclose(together.vector, alone.vector, atol=1e-5)


def test_embedding_of_different_frames_differs(embedder: OnnxImageEmbedder) -> None:
    first, second = embedder.embed([a_frame(1), a_frame(2)])

    assert not np.allclose(first.vector, second.vector, atol=1e-5)


def test_embedding_twice_and_in_two_sessions_is_the_same(
    embedder: OnnxImageEmbedder, folder: Path
) -> None:
    first = embedder.embed([a_frame()])[0]
    second = embedder.embed([a_frame()])[0]
    other = OnnxImageEmbedder.from_folder(folder).embed([a_frame()])[0]

    assert np.array_equal(first.vector, second.vector)
    assert np.array_equal(first.vector, other.vector)


def test_embedding_of_no_frames_is_empty(embedder: OnnxImageEmbedder) -> None:
    assert embedder.embed([]) == []


def test_embedding_does_not_depend_on_photometric_interpretation(
    embedder: OnnxImageEmbedder,
) -> None:
    pixels = a_radiograph()
    stored_inverted = np.float32(1) - pixels
    restored = PixelFrame(np.float32(1) - stored_inverted, content_sha256="1" * 64)

    first, second = embedder.embed([a_frame(), restored])

    assert np.allclose(first.vector, second.vector, atol=1e-3)


def test_embedding_of_a_constant_frame_is_refused(embedder: OnnxImageEmbedder) -> None:
    blank = PixelFrame(np.full((64, 64), 0.5, dtype=np.float32), content_sha256="0" * 64)

    with pytest.raises(CdsError) as refusal:
        embedder.embed([a_frame(), blank])

    assert refusal.value.reason is Reason.IMAGE_UNREADABLE


def test_embedding_when_the_graph_gives_no_direction_is_refused(tmp_path: Path) -> None:
    embedder = OnnxImageEmbedder.from_folder(tiny_encoder(tmp_path / "dead", bias=0.0))

    with pytest.raises(CdsError) as refusal:
        embedder.embed([a_frame()])

    assert refusal.value.reason is Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize("name", [MODEL_FILE, PREPROCESSOR_FILE, "config.json"])
def test_opening_when_a_file_was_changed_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))

    with pytest.raises(CdsError, match="differs from its manifest") as refusal:
        OnnxImageEmbedder.from_folder(folder)

    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE
    assert refusal.value.facts == {"file": name}


@pytest.mark.parametrize("name", [MODEL_FILE, PREPROCESSOR_FILE, MANIFEST_FILE])
def test_opening_when_a_file_is_missing_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(CdsError, match="missing") as refusal:
        OnnxImageEmbedder.from_folder(folder)

    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE


def test_opening_when_the_folder_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CdsError) as refusal:
        OnnxImageEmbedder.from_folder(tmp_path / "nowhere")

    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE


def _rewritten(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 2},
        {"files": {}},
        {"files": {"../model.onnx": "0"}},
        {"dimension": 0},
        {"unknown": 1},
        {"training": [{"source": "x"}]},
    ],
    ids=["format", "no-files", "other-folder", "dimension", "extra", "training"],
)
def test_opening_when_the_manifest_is_not_ours_is_refused(
    folder: Path, changes: dict[str, object]
) -> None:
    _rewritten(folder, **changes)

    with pytest.raises(CdsError, match="manifest") as refusal:
        OnnxImageEmbedder.from_folder(folder)

    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE


def test_manifest_that_names_a_file_outside_its_folder_is_refused(folder: Path) -> None:
    files = dict(read_manifest(folder).files)
    _rewritten(folder, files={**files, "../secret": "0"})

    with pytest.raises(CdsError) as refusal:
        read_manifest(folder)

    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE


def test_opening_when_graph_and_manifest_disagree_is_refused(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "other", dimension=DIMENSION + 1)

    with pytest.raises(CdsError, match="does not fit") as refusal:
        OnnxImageEmbedder.from_folder(folder)

    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE


def test_opening_when_the_model_is_no_graph_is_refused(folder: Path) -> None:
    from models.manifest import Manifest

    (folder / MODEL_FILE).write_bytes(b"not a graph")
    Manifest.of_folder(folder, created_on="2026-11-20", dimension=DIMENSION).write(folder)

    with pytest.raises(CdsError, match="not a graph") as refusal:
        OnnxImageEmbedder.from_folder(folder)

    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE


def test_encoder_hash_when_weights_differ_differs(folder: Path, tmp_path: Path) -> None:
    same = OnnxImageEmbedder.from_folder(tiny_encoder(tmp_path / "same"))
    other = OnnxImageEmbedder.from_folder(tiny_encoder(tmp_path / "other", seed=1))
    embedder = OnnxImageEmbedder.from_folder(folder)

    assert embedder.encoder_hash == same.encoder_hash
    assert embedder.encoder_hash != other.encoder_hash


def test_importing_models_before_usearch_does_not_crash() -> None:
    program = (
        "import models, numpy as np\n"
        "from usearch.index import Index\n"
        "index = Index(ndim=4)\n"
        "index.add(1, np.ones(4, dtype=np.float32))\n"
        "from models.shipped import shipped_encoder\n"
        "from models.embedder import OnnxImageEmbedder\n"
        "OnnxImageEmbedder.from_folder(shipped_encoder())\n"
    )

    finished = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)

    assert finished.returncode == 0, finished.stderr.decode()
