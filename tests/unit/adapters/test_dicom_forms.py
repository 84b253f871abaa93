"""Each form in which the Standard lets a picture be stored shows what the plain form shows."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space

from cds.adapters.dicom_files import frames_from_dicom
from tests.builders.dicom import a_dataset, a_ramp, dicom_bytes

ROWS, COLUMNS = 20, 24
WEIGHTS = np.array([0.299, 0.587, 0.114])


def shown(dataset: Any) -> NDArray[np.float32]:
    (frame,) = frames_from_dicom(dicom_bytes(dataset), isolate=False)
    return frame.pixels


def a_colour_picture() -> NDArray[np.uint8]:
    red = a_ramp(ROWS, COLUMNS, bits=8)
    return np.stack([red, red[::-1], red[:, ::-1]], axis=-1).astype(np.uint8)


def a_colour_dataset(samples: NDArray[Any], **overrides: Any) -> Any:
    values = {
        "SamplesPerPixel": 3,
        "PlanarConfiguration": 0,
        "PhotometricInterpretation": "RGB",
        "Rows": ROWS,
        "Columns": COLUMNS,
        "NumberOfFrames": 1,
        **overrides,
    }
    return a_dataset(samples, **values)


def test_planes_and_pixels_of_colour_show_the_same() -> None:
    picture = a_colour_picture()
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
    by_pixel = shown(a_colour_dataset(picture))
    by_plane = shown(a_colour_dataset(planes, PlanarConfiguration=1))
    np.testing.assert_array_equal(by_plane, by_pixel)
    np.testing.assert_allclose(by_pixel, picture @ WEIGHTS / 255, atol=1e-6)


def test_ybr_full_shows_what_rgb_shows() -> None:
    picture = a_colour_picture()
    ybr = convert_color_space(picture, "RGB", "YBR_FULL")
    dataset = a_colour_dataset(ybr, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_allclose(shown(dataset), picture @ WEIGHTS / 255, atol=2 / 255)


def test_ybr_full_422_shows_what_rgb_shows() -> None:
    picture = np.repeat(a_colour_picture()[:, ::2], 2, axis=1)
    y, b, r = np.moveaxis(convert_color_space(picture, "RGB", "YBR_FULL"), -1, 0)
    halved = np.stack([y[:, ::2], y[:, 1::2], b[:, ::2], r[:, ::2]], axis=-1)
    dataset = a_colour_dataset(
        picture, PhotometricInterpretation="YBR_FULL_422", PixelData=halved.tobytes()
    )
    np.testing.assert_allclose(shown(dataset), picture @ WEIGHTS / 255, atol=2 / 255)


@pytest.mark.parametrize(("photometric", "reversible"), [("YBR_RCT", True), ("YBR_ICT", False)])
def test_colour_jpeg_2000_shows_what_rgb_shows(photometric: str, reversible: bool) -> None:
    picture = a_colour_picture()
    dataset = a_colour_dataset(picture, PhotometricInterpretation=photometric)
    dataset.file_meta.TransferSyntaxUID = uid.JPEG2000
    stream = imagecodecs.jpeg2k_encode(
        picture, codecformat="j2k", reversible=reversible, level=0 if reversible else 70, mct=True
    )
    dataset.PixelData = encapsulate([bytes(stream)])
    dataset["PixelData"].VR = "OB"
    np.testing.assert_allclose(shown(dataset), picture @ WEIGHTS / 255, atol=2 / 255)


def a_palette_dataset(indices: NDArray[np.uint8]) -> Any:
    dataset = a_dataset(indices, PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
    return dataset


def test_palette_and_segmented_palette_show_the_same_grey() -> None:
    indices = a_ramp(ROWS, COLUMNS, bits=8).astype(np.uint8)
    plain, segmented = a_palette_dataset(indices), a_palette_dataset(indices)
    table = (np.arange(256) * 257).astype("<u2")
    # A discrete segment of one entry, then a linear one up to the end (PS3.3 C.7.9.2).
    segments = np.array([0, 1, 0, 1, 255, 65_535], "<u2")
    for colour in ("Red", "Green", "Blue"):
        setattr(plain, f"{colour}PaletteColorLookupTableData", table.tobytes())
        name = f"Segmented{colour}PaletteColorLookupTableData"
        setattr(segmented, name, segments.tobytes())
    np.testing.assert_allclose(shown(plain), indices / 255, atol=1e-5)
    np.testing.assert_allclose(shown(segmented), shown(plain), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "bits"),
    [(np.uint8, 7), (np.uint16, 10), (np.uint16, 16), (np.uint32, 20), (np.uint32, 32)],
)
def test_any_number_of_bits_shows_the_ramp_cut_to_whole_levels(kind: type[Any], bits: int) -> None:
    full = 2**bits - 1
    stored = np.linspace(0, full, ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(kind)
    dataset = a_dataset(stored, BitsStored=bits, WindowCenter=(full + 1) / 2, WindowWidth=full + 1)
    dataset.VOILUTFunction = "LINEAR_EXACT"
    wanted = np.linspace(0, 1, ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    np.testing.assert_allclose(shown(dataset), wanted, atol=2 / full + 1e-6)


@pytest.mark.parametrize(("kind", "bits"), [(np.int8, 8), (np.int16, 13), (np.int32, 24)])
def test_signed_bits_show_the_ramp(kind: type[Any], bits: int) -> None:
    half = 2 ** (bits - 1)
    stored = np.linspace(-half, half - 1, ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(kind)
    dataset = a_dataset(stored, BitsStored=bits, WindowCenter=0, WindowWidth=2 * half)
    assert (np.diff(shown(dataset).ravel()) >= 0).all()
    assert shown(dataset)[0, 0] == pytest.approx(0.0, abs=1e-2)
    assert shown(dataset)[-1, -1] == pytest.approx(1.0, abs=1e-2)


def test_first_of_several_windows_counts() -> None:
    stored = a_ramp(ROWS, COLUMNS)
    one = shown(a_dataset(stored, WindowCenter=1000, WindowWidth=400))
    several = shown(a_dataset(stored, WindowCenter=[1000, 3000], WindowWidth=[400, 50]))
    np.testing.assert_array_equal(several, one)


@pytest.mark.parametrize("start", [128 + 4, None], ids=["no-preamble", "no-file-meta"])
def test_file_without_its_beginning_shows_the_picture(start: int | None) -> None:
    dataset = a_dataset(a_ramp(ROWS, COLUMNS), WindowCenter=2048, WindowWidth=4096)
    content = dicom_bytes(dataset)
    if start is None:
        start = content.index(b"\x08\x00\x16\x00")  # SOP Class UID: the first of the data set
    (frame,) = frames_from_dicom(content[start:], isolate=False)
    np.testing.assert_array_equal(frame.pixels, shown(dataset))


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_other_native_encodings_show_the_picture(syntax: uid.UID) -> None:
    stored = a_ramp(ROWS, COLUMNS)
    plain = a_dataset(stored, WindowCenter=2048, WindowWidth=4096)
    other = a_dataset(stored, WindowCenter=2048, WindowWidth=4096)
    other.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.ExplicitVRBigEndian:
        other.PixelData = stored.byteswap().tobytes()
        other["PixelData"].VR = "OW"
    np.testing.assert_array_equal(shown(other), shown(plain))
