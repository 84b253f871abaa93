"""Writing on pixels: the candidates, the network, the manifest."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cds.domain.errors import CdsError, Reason
from models.text_candidates import MAX_SHARE, Crop, candidate_crops, connected_parts
from models.text_detector import SHIPPED_DETECTOR, OnnxTextDetector
from tests.builders.burned_in import a_smooth_picture, with_writing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def detector() -> OnnxTextDetector:
    return OnnxTextDetector.shipped()


@pytest.mark.parametrize("size_px", [14, 20, 32])
@pytest.mark.parametrize("level", [250, 5])
@pytest.mark.parametrize("text", ["MUELLER ANNA", "12/03/1956", "MRN 4711882"])
def test_writing_when_burned_in_is_found_where_it_stands(
    detector: OnnxTextDetector, text: str, level: int, size_px: int
) -> None:
    grey = with_writing(a_smooth_picture(), text, at=(40, 60), size_px=size_px, level=level)
    boxes = detector.text_boxes(grey)
    assert boxes
    assert any(30 <= b.column <= 80 and 45 <= b.row <= 90 for b in boxes)
    assert not any(b.is_like_one_letter(max(grey.shape)) for b in boxes[:1])


@pytest.mark.parametrize("seed", range(4))
def test_picture_without_writing_has_no_candidates(detector: OnnxTextDetector, seed: int) -> None:
    grey = a_smooth_picture(seed=seed)
    assert candidate_crops(grey) == ()
    assert detector.text_boxes(grey) == ()


def test_edge_of_one_sign_is_no_candidate() -> None:
    grey = a_smooth_picture()
    grey[:, :60] = 0  # collimation
    assert candidate_crops(grey) == ()


def test_candidates_when_everywhere_are_the_whole_picture() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 130), dtype=np.uint8)
    assert candidate_crops(noise) == (Crop(0, 200, 0, 130),)


def test_candidates_are_disjoint_and_hold_the_writing() -> None:
    grey = a_smooth_picture()
    for y in (20, 250, 470):
        grey = with_writing(grey, "SMITH JOHN", at=(200, y))
    crops = candidate_crops(grey)
    assert len(crops) == 3
    assert not any(a.touches(b) for a in crops for b in crops if a is not b)
    assert sum(c.n_pixels for c in crops) < MAX_SHARE * grey.size
    assert [c.top <= y <= c.bottom for c, y in zip(crops, (25, 255, 475), strict=True)] == [
        True
    ] * 3


def test_connected_parts_join_diagonal_neighbours_and_leave_out_small_ones() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[0, 0] = mask[1, 1] = mask[5, 7] = True
    assert connected_parts(mask, 2) == [Crop(0, 2, 0, 2)]
    assert len(connected_parts(mask)) == 2


def test_detector_when_its_network_was_changed_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "detector"
    shutil.copytree(SHIPPED_DETECTOR, folder)
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    with pytest.raises(CdsError) as refused:
        OnnxTextDetector.shipped(folder)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


def test_detector_when_its_manifest_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match="reinstall"):
        OnnxTextDetector.shipped(tmp_path)


def test_manifest_names_licence_and_source() -> None:
    manifest = json.loads((SHIPPED_DETECTOR / "manifest.json").read_text("utf-8"))
    assert manifest["licence"] == "Apache-2.0"
    assert "PaddleOCR" in manifest["source"]
