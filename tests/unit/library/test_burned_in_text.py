"""Which writing may stay on a picture, and which sets it apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cds.domain.errors import CdsError
from cds.domain.pixels import PixelFrame
from cds.library.burned_in_text import TEXT_ON_PIXELS, writing_on
from cds.library.deidentification import Deidentifier
from models.text_detector import OnnxTextDetector
from sandbox.generator.exposure import line_text
from tests.builders.burned_in import a_smooth_picture, with_writing
from tests.builders.deidentification import a_deidentifier


@pytest.fixture(scope="module")
def detector() -> OnnxTextDetector:
    return OnnxTextDetector.shipped()


@pytest.fixture(scope="module")
def deidentifier() -> Deidentifier:
    return a_deidentifier()


def with_marker(grey: NDArray[np.uint8], row: int = 480, column: int = 12) -> NDArray[np.uint8]:
    bitmap = line_text("SYNTHETIC", 2)
    marked = grey.copy()
    marked[row - 2 : row + 16, column - 2 : column + bitmap.shape[1] + 2] = 0
    marked[row : row + 14, column : column + bitmap.shape[1]][bitmap] = 228
    return marked


def test_name_on_the_picture_sets_it_apart_and_is_counted(deidentifier: Deidentifier) -> None:
    grey = with_writing(a_smooth_picture(), "KOWALSKI JAN", at=(30, 30))
    report = deidentifier.new_report()
    with pytest.raises(CdsError, match=TEXT_ON_PIXELS):
        deidentifier.check_pixels(report, grey)
    assert report.counts["pictures quarantined for writing"] == 1


@pytest.mark.parametrize("letter", ["L", "R"])
def test_side_marker_stays(detector: OnnxTextDetector, letter: str) -> None:
    grey = with_writing(a_smooth_picture(), letter, at=(380, 40), size_px=40)
    assert not writing_on(grey, detector).must_be_set_apart


def test_side_marker_beside_a_name_does_not_hide_the_name(detector: OnnxTextDetector) -> None:
    grey = with_writing(a_smooth_picture(), "R", at=(40, 40), size_px=40)
    grey = with_writing(grey, "GARCIA LOPEZ", at=(200, 440), size_px=18)
    assert writing_on(grey, detector).must_be_set_apart


def test_marker_of_the_sandbox_stays(detector: OnnxTextDetector) -> None:
    found = writing_on(with_marker(a_smooth_picture()), detector)
    assert (found.n_known_markers, found.must_be_set_apart) == (1, False)


def test_marker_of_the_sandbox_when_a_name_follows_it_sets_the_picture_apart(
    detector: OnnxTextDetector,
) -> None:
    grey = with_writing(with_marker(a_smooth_picture()), "ANNA MUELLER", at=(126, 476), size_px=16)
    assert writing_on(grey, detector).must_be_set_apart


def test_other_word_in_the_markers_place_sets_the_picture_apart(
    detector: OnnxTextDetector,
) -> None:
    grey = a_smooth_picture()
    bitmap = line_text("THESISTIN", 2)
    grey[478:496, 10 : 14 + bitmap.shape[1]] = 0
    grey[480:494, 12 : 12 + bitmap.shape[1]][bitmap] = 228
    assert writing_on(grey, detector).must_be_set_apart


def test_writing_when_a_person_reviewed_it_is_kept_and_counted() -> None:
    reviewed = a_deidentifier(writing_reviewed=True)
    report = reviewed.new_report()
    reviewed.check_pixels(report, with_writing(a_smooth_picture(), "PORTABLE", at=(30, 30)))
    assert report.counts["pictures with writing kept as reviewed"] == 1


def test_picture_file_without_header_keeps_its_frame(deidentifier: Deidentifier) -> None:
    frame = PixelFrame(np.zeros((3, 3), np.float32), "0" * 64)
    report = deidentifier.new_report()
    assert deidentifier.frame(b"", frame, ("a", "1"), report) is frame
