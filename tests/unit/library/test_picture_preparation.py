from functools import partial
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cds.adapters.dicom_files import frames_from_dicom
from cds.domain.errors import CdsError
from cds.domain.perceptual_hash import perceptual_hash
from cds.domain.pixels import PixelFrame
from cds.library.picture_preparation import (
    BURNED_IN,
    BURNED_IN_UNSURE,
    EMPTY,
    FLAT,
    from_png,
    read_frame,
    to_png,
)
from tests.builders.dicom import a_dataset, dicom_bytes


def a_frame(rows: int = 30, columns: int = 20, **overrides: object) -> PixelFrame:
    pixels = np.random.default_rng(1).random((rows, columns), dtype=np.float32)
    return PixelFrame(pixels=pixels, content_sha256="0" * 64, **overrides)  # type: ignore[arg-type]


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 99))
def test_png_when_small_and_read_back_is_the_8_bit_picture(
    rows: int, columns: int, seed: int
) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.float32)
    frame = PixelFrame(pixels=grey / np.float32(255), content_sha256="")
    kept_rows, kept_columns, png = to_png(frame)
    assert (kept_rows, kept_columns) == (rows, columns)
    assert np.array_equal(from_png(png).pixels, frame.pixels)


def test_png_when_picture_is_large_has_a_long_side_of_1024() -> None:
    rows, columns, png = to_png(a_frame(2100, 1050))
    assert (rows, columns) == (1024, 512)
    with Image.open(BytesIO(png)) as image:
        assert (image.mode, image.size) == ("L", (512, 1024))


def test_hash_when_taken_of_the_kept_picture_is_near_the_original_one() -> None:
    y, x = np.mgrid[0:1:1500j, 0:1:1300j]
    pixels = (0.5 + 0.25 * np.cos(9 * x + 4 * y) + 0.25 * np.sin(7 * y * x)).astype(np.float32)
    kept = from_png(to_png(PixelFrame(pixels=pixels, content_sha256=""))[2])
    assert (perceptual_hash(pixels) ^ perceptual_hash(kept.pixels)).bit_count() <= 2


def test_file_when_empty_is_refused_before_it_is_decoded() -> None:
    def reader(content: bytes) -> tuple[PixelFrame, ...]:
        raise AssertionError(content)

    with pytest.raises(CdsError, match=EMPTY):
        read_frame(b"", reader)


def test_picture_when_flat_is_refused() -> None:
    flat = PixelFrame(pixels=np.full((9, 9), 0.5, np.float32), content_sha256="")
    with pytest.raises(CdsError, match=FLAT):
        read_frame(b"x", lambda _: (flat,))


@pytest.mark.parametrize(
    ("modality", "stated", "reason"),
    [
        pytest.param("DX", "YES", BURNED_IN, id="says-yes"),
        pytest.param("US", None, BURNED_IN_UNSURE, id="ultrasound-says-nothing"),
        pytest.param("DX", None, None, id="film-says-nothing"),
        pytest.param("US", "NO", None, id="ultrasound-says-no"),
    ],
)
def test_dicom_when_it_may_hold_burned_in_text_is_refused(
    modality: str, stated: str | None, reason: str | None
) -> None:
    dataset = a_dataset(Modality=modality)
    if stated is not None:
        dataset.BurnedInAnnotation = stated
    decode = partial(frames_from_dicom, isolate=False)
    if reason is None:
        assert read_frame(dicom_bytes(dataset), decode).modality == modality
        return
    with pytest.raises(CdsError, match=reason):
        read_frame(dicom_bytes(dataset), decode)
