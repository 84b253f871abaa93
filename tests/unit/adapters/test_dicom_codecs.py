from __future__ import annotations

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from cds.adapters.dicom_files import frames_from_dicom
from cds.domain.errors import CdsError, Reason
from tests.builders.dicom import a_dataset, a_ramp, dicom_bytes

WINDOW: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
Encode = Callable[[np.ndarray[Any, Any]], bytes | bytearray]


def compressed(stored: np.ndarray[Any, Any], syntax: uid.UID, encode: Encode, **more: Any) -> bytes:
    dataset = a_dataset(stored, **more)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([bytes(encode(stored))])
    dataset["PixelData"].VR = "OB"
    return dicom_bytes(dataset)


def jpeg_2000(samples: np.ndarray[Any, Any]) -> bytes | bytearray:
    return imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, level=0)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        pytest.param(uid.JPEGLSLossless, imagecodecs.jpegls_encode, id="jpeg-ls"),
        pytest.param(uid.JPEGLosslessSV1, imagecodecs.ljpeg_encode, id="jpeg-lossless"),
        pytest.param(uid.JPEG2000Lossless, jpeg_2000, id="jpeg-2000"),
    ],
)
def test_lossless_syntax_gives_the_uncompressed_picture(syntax: uid.UID, encode: Encode) -> None:
    stored = a_ramp(48, 64)
    (plain,) = frames_from_dicom(dicom_bytes(a_dataset(stored, **WINDOW)), isolate=False)
    (packed,) = frames_from_dicom(compressed(stored, syntax, encode, **WINDOW), isolate=False)
    np.testing.assert_array_equal(packed.pixels, plain.pixels)


def test_signed_values_keep_their_sign_in_jpeg_ls() -> None:
    stored = np.arange(-1000, 1048, dtype=np.int16).reshape(32, 64)

    def encode(samples: np.ndarray[Any, Any]) -> bytes | bytearray:
        return imagecodecs.jpegls_encode(samples.view(np.uint16))

    content = compressed(stored, uid.JPEGLSLossless, encode, WindowCenter=24, WindowWidth=2048)
    (frame,) = frames_from_dicom(content, isolate=False)
    assert (np.diff(frame.pixels.ravel()) >= 0).all()
    assert frame.pixels[0, 0] == pytest.approx(0.0, abs=1e-3)


def test_twelve_bit_jpeg_is_close_to_the_uncompressed_picture() -> None:
    stored = a_ramp(64, 64)

    def encode(samples: np.ndarray[Any, Any]) -> bytes | bytearray:
        return imagecodecs.jpeg8_encode(samples, bitspersample=12, level=98)

    content = compressed(stored, uid.JPEGExtended12Bit, encode, **WINDOW)
    (frame,) = frames_from_dicom(content, isolate=False)
    assert float(np.abs(frame.pixels - stored / 4095.0).max()) < 0.02


def test_samples_that_do_not_fit_bits_allocated_are_refused() -> None:
    stored = a_ramp(16, 16)
    content = compressed(
        stored, uid.JPEGLSLossless, imagecodecs.jpegls_encode, BitsAllocated=8, BitsStored=8
    )
    with pytest.raises(CdsError) as caught:
        frames_from_dicom(content, isolate=False)
    assert caught.value.reason == Reason.IMAGE_UNREADABLE


def test_code_stream_of_another_size_than_the_header_is_refused() -> None:
    stored = a_ramp(16, 16)
    content = compressed(stored, uid.JPEGLSLossless, imagecodecs.jpegls_encode, Rows=32)
    with pytest.raises(CdsError) as caught:
        frames_from_dicom(content, isolate=False)
    assert caught.value.reason == Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize(
    ("subsampling", "photometric"), [("444", "YBR_FULL"), ("422", "YBR_FULL_422")]
)
def test_colour_jpeg_is_converted_from_ycbcr_once(subsampling: str, photometric: str) -> None:
    """Red is dark in luminance, yellow bright: a second conversion would turn them about."""
    colours = np.array([[255, 0, 0], [255, 255, 0], [0, 0, 255], [128, 128, 128]], np.uint8)
    picture = np.repeat(np.repeat(colours[np.newaxis], 16, axis=0), 16, axis=1)

    def encode(samples: np.ndarray[Any, Any]) -> bytes | bytearray:
        return imagecodecs.jpeg8_encode(samples, level=98, subsampling=subsampling)

    content = compressed(
        picture,
        uid.JPEGBaseline8Bit,
        encode,
        Rows=16,
        Columns=64,
        NumberOfFrames=None,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation=photometric,
    )
    (frame,) = frames_from_dicom(content, isolate=False)
    luminance = frame.pixels[8, [8, 24, 40, 56]]
    np.testing.assert_allclose(luminance, [0.299, 0.886, 0.114, 0.502], atol=0.02)


@pytest.mark.parametrize("retired", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"])
def test_retired_twelve_bit_jpeg_is_read(retired: str) -> None:
    stored = a_ramp(64, 64)

    def encode(samples: np.ndarray[Any, Any]) -> bytes | bytearray:
        return imagecodecs.jpeg8_encode(samples, bitspersample=12, level=98)

    (frame,) = frames_from_dicom(
        compressed(stored, uid.UID(retired), encode, **WINDOW), isolate=False
    )
    assert float(np.abs(frame.pixels - stored / 4095.0).max()) < 0.02


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.64"])
def test_syntax_without_a_decoder_is_refused_in_words(syntax: str) -> None:
    content = compressed(a_ramp(16, 16), uid.UID(syntax), imagecodecs.jpegls_encode)
    with pytest.raises(CdsError) as caught:
        frames_from_dicom(content, isolate=False)
    assert caught.value.reason == Reason.IMAGE_UNSUPPORTED
    assert caught.value.sentence.endswith("Its transfer syntax is not supported.")


@pytest.mark.parametrize(
    ("keyword", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")]
)
def test_floating_point_pixels_are_windowed_and_what_is_no_number_is_dark(
    keyword: str, kind: str
) -> None:
    values = np.linspace(-1, 1, 256).reshape(16, 16).astype(kind)
    values[0, 0] = np.nan
    dataset = a_dataset(np.zeros((16, 16), np.uint16), WindowCenter=0, WindowWidth=2)
    del dataset.PixelData
    dataset.VOILUTFunction = "LINEAR_EXACT"
    dataset.BitsAllocated = 8 * values.dtype.itemsize
    for absent in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, absent)
    setattr(dataset, keyword, values.tobytes())
    (frame,) = frames_from_dicom(dicom_bytes(dataset), isolate=False)
    assert frame.pixels[0, 0] == pytest.approx(0.5)
    np.testing.assert_allclose(frame.pixels.ravel()[1:], (values.ravel()[1:] + 1) / 2, atol=1e-6)


def test_one_bit_pixels_are_black_and_white() -> None:
    mask = np.eye(24, dtype=np.uint8)
    packed = np.packbits(mask.ravel(), bitorder="little").tobytes()
    content = dicom_bytes(
        a_dataset(
            mask, BitsAllocated=1, BitsStored=1, PixelData=packed, WindowCenter=1, WindowWidth=1
        )
    )
    (frame,) = frames_from_dicom(content, isolate=False)
    np.testing.assert_array_equal(frame.pixels, mask)
