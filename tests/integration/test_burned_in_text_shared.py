"""Writing on real radiographs: what the stated figures rest on, in small."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.burned_in_text import pictures, sensitivity, without_writing
from cds.library.burned_in_text import writing_on
from models.text_detector import OnnxTextDetector


@pytest.fixture(scope="module")
def detector() -> OnnxTextDetector:
    return OnnxTextDetector.shipped()


@pytest.mark.parametrize("size_px", [16, 28])
def test_planted_writing_on_real_radiographs_is_found(
    detector: OnnxTextDetector, shared_dir: Path, size_px: int
) -> None:
    bases = without_writing(shared_dir / "data", detector, n=4, long_side_px=512)
    hits = [sensitivity(bases, detector, size_px=size_px, contrast=c) for c in (60, 90, 150)]
    found, n = (sum(column) for column in zip(*hits, strict=True))
    assert n >= 50
    assert found >= 0.95 * n


def test_radiographs_of_a_collection_with_little_writing_are_let_in(
    detector: OnnxTextDetector, shared_dir: Path
) -> None:
    held = pictures(shared_dir / "data" / "tbx11k_tb", n=60, seed=3)
    apart = sum(writing_on(grey, detector).must_be_set_apart for grey in held)
    assert apart <= 0.1 * len(held)  # by eye: a few carry a small "pa" below the side marker
