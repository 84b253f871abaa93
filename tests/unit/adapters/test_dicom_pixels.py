from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from cds.adapters.dicom_files import frames_from_dicom
from cds.domain.pixels import PixelFrame
from tests.builders.dicom import a_dicom_instance, a_ramp

WINDOW: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}


def shown(stored: np.ndarray[Any, Any] | None = None, **overrides: Any) -> PixelFrame:
    (frame,) = frames_from_dicom(a_dicom_instance(stored, **overrides), isolate=False)
    return frame


def a_lut(descriptor: list[int], data: list[int]) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = descriptor
    item.LUTData = np.asarray(data, dtype="<u2").tobytes()
    return item


def test_full_window_of_twelve_bits_gives_the_ramp_from_zero_to_one() -> None:
    frame = shown(**WINDOW)
    assert frame.pixels[0, 0] == 0.0
    assert frame.pixels[-1, -1] == 1.0
    np.testing.assert_allclose(frame.pixels, a_ramp() / 4095.0, atol=2e-7)


def test_monochrome1_of_inverted_values_equals_monochrome2() -> None:
    inverted = (4095 - a_ramp()).astype(np.uint16)
    one = shown(
        inverted, PhotometricInterpretation="MONOCHROME1", WindowCenter=2048, WindowWidth=4096
    )
    assert float(np.abs(one.pixels - shown(**WINDOW).pixels).max()) < 1e-6


def test_monochrome1_without_window_equals_monochrome2() -> None:
    inverted = (4095 - a_ramp()).astype(np.uint16)
    one = shown(inverted, PhotometricInterpretation="MONOCHROME1")
    assert float(np.abs(one.pixels - shown().pixels).max()) < 0.02


def test_rescale_is_applied_before_the_window() -> None:
    # Stored 0..4095 means -1024..3071 HU; lung window -600 +- 750.
    frame = shown(RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=-600, WindowWidth=1500)
    expected = np.clip((a_ramp() - 1024.0 + 600.5) / 1499 + 0.5, 0, 1)
    np.testing.assert_allclose(frame.pixels, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        pytest.param("LINEAR", [0.0, 0.5 - 99.5 / 199, 0.5 + 0.5 / 199, 1.0], id="linear"),
        pytest.param("LINEAR_EXACT", [0.0, 0.0, 0.5, 1.0], id="linear-exact"),
        pytest.param("SIGMOID", [0.0, 1 / (1 + np.e**2), 0.5, 1.0], id="sigmoid"),
    ],
)
def test_voi_function_follows_the_standard(function: str, expected: list[float]) -> None:
    stored = np.array([[0, 900, 1000, 4095]], dtype=np.uint16)
    frame = shown(stored, WindowCenter=1000, WindowWidth=200, VOILUTFunction=function)
    np.testing.assert_allclose(frame.pixels[0], expected, atol=1e-6)


def test_voi_lut_sequence_wins_over_the_window() -> None:
    stored = np.array([[0, 10, 11, 12, 4000]], dtype=np.uint16)
    frame = shown(stored, VOILUTSequence=[a_lut([3, 10, 8], [0, 128, 255])], **WINDOW)
    np.testing.assert_allclose(frame.pixels[0], [0, 0, 128 / 255, 1, 1], atol=1e-6)


def test_modality_lut_is_applied_before_the_window() -> None:
    stored = np.array([[0, 1, 2]], dtype=np.uint16)
    frame = shown(stored, ModalityLUTSequence=[a_lut([3, 0, 16], [4095, 0, 1000])], **WINDOW)
    np.testing.assert_allclose(frame.pixels[0], [1.0, 0.0, 1000 / 4095], atol=1e-6)


def test_padding_value_is_dark_and_does_not_stretch_the_window() -> None:
    stored = a_ramp(bits=10).copy()
    stored[0, :] = 4000
    frame = shown(stored, PixelPaddingValue=4000)
    assert (frame.pixels[0] == 0.0).all()
    np.testing.assert_allclose(frame.pixels[1:].max(), 1.0)


def test_padding_range_is_dark_in_monochrome1_too() -> None:
    stored = a_ramp().copy()
    frame = shown(
        stored,
        PixelPaddingValue=0,
        PixelPaddingRangeLimit=100,
        PhotometricInterpretation="MONOCHROME1",
        **WINDOW,
    )
    assert (frame.pixels[stored <= 100] == 0.0).all()
    assert (frame.pixels[(stored > 100) & (stored < 2000)] > 0.5).all()


def test_signed_values_keep_their_sign() -> None:
    stored = np.array([[-1000, 0, 1000]], dtype=np.int16)
    frame = shown(stored, WindowCenter=0.5, WindowWidth=2001)
    np.testing.assert_allclose(frame.pixels[0], [0.0, 0.5, 1.0], atol=1e-6)


def test_sixteen_bits_use_the_whole_range() -> None:
    frame = shown(a_ramp(bits=16), BitsStored=16, WindowCenter=32768, WindowWidth=65536)
    np.testing.assert_allclose(frame.pixels, a_ramp(bits=16) / 65535.0, atol=1e-6)


def test_bits_above_the_high_bit_are_dropped() -> None:
    overlay = a_ramp() | np.uint16(0x8000)
    np.testing.assert_array_equal(shown(overlay, **WINDOW).pixels, shown(**WINDOW).pixels)


def test_colour_becomes_luminance() -> None:
    stored = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    frame = shown(
        stored[..., 0],
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        PixelData=stored.tobytes(),
    )
    np.testing.assert_allclose(frame.pixels[0], [0.299, 0.587, 0.114, 1.0], atol=1e-6)


def test_multi_frame_gives_the_middle_frame_and_the_count() -> None:
    stored = np.stack([np.full((4, 4), value, dtype=np.uint16) for value in (0, 2048, 4095)])
    frame = shown(stored, **WINDOW)
    assert (frame.frame_number, frame.n_frames) == (2, 3)
    np.testing.assert_allclose(frame.pixels, 2048 / 4095.0, atol=1e-6)


def test_constant_picture_stays_dark_instead_of_failing() -> None:
    assert shown(np.full((4, 4), 700, dtype=np.uint16)).pixels.max() == 0.0


def test_robust_window_ignores_a_few_burnt_pixels() -> None:
    stored = np.full((40, 40), 100, dtype=np.uint16)
    stored[:, 20:] = 200
    stored[0, 0] = 4095
    frame = shown(stored)
    assert frame.pixels[5, 5] == 0.0
    assert frame.pixels[5, 30] == 1.0
