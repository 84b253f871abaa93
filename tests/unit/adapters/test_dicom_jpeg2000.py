"""Large JPEG 2000 films are decoded at the resolution that is kept, with the right values."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from cds.adapters.dicom_files import frames_from_dicom
from cds.adapters.dicom_jpeg2000 import reduction_level
from cds.domain.errors import CdsError, Reason
from cds.domain.perceptual_hash import perceptual_hash
from tests.builders.dicom import a_ramp
from tests.unit.adapters.test_dicom_codecs import compressed

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
# Of a film with noise: what the wavelet's halving and the mean of four pixels differ by, of 1.
MEAN_TOLERANCE = 1 / 255
LARGEST_TOLERANCE = 12 / 255


def a_film(rows: int = 2048, columns: int = 1900, bits: int = 12) -> np.ndarray[Any, Any]:
    """Smooth shapes and a little noise, as an X-ray film has."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.random((24, 24)).astype(np.float32))
    body = np.asarray(coarse.resize((columns, rows), Image.Resampling.BICUBIC), np.float64)
    noise = rng.normal(0, 0.004, body.shape)
    full = 2**bits - 1
    film: np.ndarray[Any, Any] = np.clip((body + noise) * full, 0, full).astype(np.uint16)
    return film


def jpeg_2000(samples: np.ndarray[Any, Any], *, bits: int = 12, **options: Any) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            samples, codecformat="j2k", reversible=True, level=0, bitspersample=bits, **options
        )
    )


def averaged(stored: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    rows, columns = stored.shape
    return np.asarray(stored.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3)))


def test_large_film_is_decoded_at_half_its_size_within_the_stated_tolerance() -> None:
    film = a_film()
    content = compressed(film, uid.JPEG2000Lossless, jpeg_2000, **WINDOW)
    (frame,) = frames_from_dicom(content, isolate=False)
    assert frame.pixels.shape == (1024, 950)
    difference = np.abs(frame.pixels - averaged(film) / 4095.0)
    assert float(difference.mean()) < MEAN_TOLERANCE
    assert float(difference.max()) < LARGEST_TOLERANCE


def test_large_film_keeps_its_extent_in_millimetres_and_its_hash() -> None:
    film = a_film()
    content = compressed(film, uid.JPEG2000Lossless, jpeg_2000, **WINDOW)
    (frame,) = frames_from_dicom(content, isolate=False)
    assert frame.pixel_spacing_mm == pytest.approx((0.4, 0.4))
    whole = perceptual_hash((film / 4095.0).astype(np.float32))
    assert (perceptual_hash(frame.pixels) ^ whole).bit_count() <= 4


def test_ten_signed_bits_at_half_size_keep_their_values() -> None:
    film = (a_film(bits=10).astype(np.int32) - 512).astype(np.int16)

    def encode(samples: np.ndarray[Any, Any]) -> bytes:
        return jpeg_2000(samples, bits=10)

    content = compressed(
        film, uid.JPEG2000Lossless, encode, BitsStored=10, WindowCenter=0, WindowWidth=1024
    )
    (frame,) = frames_from_dicom(content, isolate=False)
    wanted = np.clip((averaged(film.astype(np.int32)) + 0.5) / 1023 + 0.5, 0, 1)
    assert float(np.abs(frame.pixels - wanted).mean()) < MEAN_TOLERANCE


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({"PixelPaddingValue": 0}, id="padding"),
        pytest.param({"PhotometricInterpretation": "PALETTE COLOR"}, id="palette"),
    ],
)
def test_picture_whose_values_may_not_be_averaged_is_not_reduced(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("was opened at less than its resolution")

    film = a_ramp(1950, 16)
    content = compressed(film, uid.JPEG2000Lossless, jpeg_2000, **WINDOW, **overrides)
    monkeypatch.setattr("cds.adapters.dicom_jpeg2000.get_j2k_parameters", refuse)
    if overrides.get("PhotometricInterpretation"):
        with pytest.raises(CdsError):  # has no palette
            frames_from_dicom(content, isolate=False)
    else:
        (frame,) = frames_from_dicom(content, isolate=False)
        assert frame.pixels.shape == (1950, 16)


def test_code_stream_without_a_coarser_level_is_decoded_whole() -> None:
    picture = Image.fromarray(a_ramp(1950, 32, bits=8).astype(np.uint8))

    def one_level(_: np.ndarray[Any, Any]) -> bytes:
        stream = BytesIO()
        picture.save(stream, "JPEG2000", num_resolutions=1, irreversible=False, no_jp2=True)
        return stream.getvalue()

    stored = np.asarray(picture)
    content = compressed(
        stored, uid.JPEG2000Lossless, one_level, WindowCenter=127.5, WindowWidth=256
    )
    (frame,) = frames_from_dicom(content, isolate=False)
    assert frame.pixels.shape == (1950, 32)
    np.testing.assert_allclose(frame.pixels, stored / 255.0, atol=1e-2)


def test_large_film_of_another_size_than_its_header_is_refused() -> None:
    content = compressed(a_film(), uid.JPEG2000Lossless, jpeg_2000, Rows=2050)
    with pytest.raises(CdsError) as caught:
        frames_from_dicom(content, isolate=False)
    assert caught.value.reason == Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize(
    ("size", "level"),
    [((512, 512), 0), ((1900, 1900), 0), ((1000, 2000), 1), ((4096, 4096), 2)],
)
def test_reduction_never_goes_far_below_what_is_kept(size: tuple[int, int], level: int) -> None:
    assert reduction_level(*size) == level
    assert level == 0 or max(size) >> level >= 950
