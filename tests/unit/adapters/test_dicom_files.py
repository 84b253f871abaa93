from __future__ import annotations

import zlib
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID

from cds.adapters.dicom_decoding import DecodeLimits
from cds.adapters.dicom_files import frames_from_dicom, frames_from_file, frames_from_picture
from cds.domain.dates import PartialDate
from cds.domain.errors import CdsError, Reason
from tests.builders.dicom import (
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    a_dataset,
    a_dicom_instance,
    a_picture_file,
    a_ramp,
    dicom_bytes,
)

PDF = b"%PDF-1.7\n1 0 obj<<>>endobj\n" * 20


def reason_of(content: bytes, **options: object) -> Reason:
    with pytest.raises(CdsError) as caught:
        frames_from_dicom(content, isolate=False, **options)  # type: ignore[arg-type]  # test options
    return caught.value.reason


def test_frame_carries_what_the_object_says() -> None:
    content = a_dicom_instance(PatientID=" P100 ", BodyPartExamined="CHEST ")
    (frame,) = frames_from_dicom(content, isolate=False)
    assert frame.content_sha256 == sha256(content).hexdigest()
    assert (frame.modality, frame.body_part, frame.view_position) == ("DX", "CHEST", "PA")
    assert frame.sop_instance_uid == SOP_INSTANCE_UID
    assert frame.pixel_spacing_mm == (0.2, 0.2)
    assert frame.identity.patient_id_value == "P100"
    assert frame.identity.issuer == "HOSPITAL-A"
    assert frame.identity.birth_on == PartialDate(1959, 3, 14)
    assert frame.identity.sex == "F"
    assert frame.identity.study_instance_uid == STUDY_INSTANCE_UID
    assert frame.identity.accession_number == "A-1"


def test_empty_elements_are_missing_not_empty_text() -> None:
    content = a_dicom_instance(
        PatientBirthDate="", PatientSex="", AccessionNumber="", ViewPosition=""
    )
    (frame,) = frames_from_dicom(content, isolate=False)
    assert frame.view_position is None
    assert frame.identity.birth_on is None
    assert frame.identity.sex is None
    assert frame.identity.accession_number is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(PDF, Reason.IMAGE_UNREADABLE, id="pdf-named-dcm"),
        pytest.param(b"", Reason.IMAGE_UNREADABLE, id="empty"),
        pytest.param(a_dicom_instance()[:-40], Reason.IMAGE_UNREADABLE, id="truncated-pixels"),
        pytest.param(a_dicom_instance()[:300], Reason.IMAGE_UNREADABLE, id="truncated-header"),
        pytest.param(b"\0" * 128 + b"DICM", Reason.IMAGE_UNREADABLE, id="preamble-only"),
        pytest.param(a_dicom_instance(PixelData=None), Reason.IMAGE_UNSUPPORTED, id="no-pixels"),
        pytest.param(a_dicom_instance(Modality="SEG"), Reason.IMAGE_UNSUPPORTED, id="segmentation"),
        pytest.param(
            a_dicom_instance(Manufacturer="Precedent"),
            Reason.IMAGE_UNSUPPORTED,
            id="our-own-result",
        ),
        pytest.param(a_dicom_instance(Rows=0), Reason.IMAGE_UNREADABLE, id="no-rows"),
    ],
)
def test_bad_object_is_refused_with_a_reason(content: bytes, reason: Reason) -> None:
    assert reason_of(content) == reason


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(DecodeLimits(max_bytes=500), id="bytes"),
        pytest.param(DecodeLimits(max_frame_px=100), id="frame"),
    ],
)
def test_object_over_a_limit_is_refused_before_decoding(limits: DecodeLimits) -> None:
    assert reason_of(a_dicom_instance(), limits=limits) == Reason.IMAGE_UNREADABLE


def test_too_many_frames_are_refused_before_decoding() -> None:
    content = a_dicom_instance(NumberOfFrames=1_000_000)
    limits = DecodeLimits(max_volume_px=1_000_000)
    assert reason_of(content, limits=limits) == Reason.IMAGE_UNREADABLE


def test_deflated_bomb_is_refused_before_it_is_inflated() -> None:
    dataset = a_dataset()
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1.99")
    head = dicom_bytes(dataset)
    start = 144 + int.from_bytes(head[140:144], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = head[:start] + deflater.compress(bytes(30_000_000)) + deflater.flush()
    assert len(bomb) < 100_000
    assert reason_of(bomb, limits=DecodeLimits(max_bytes=1_000_000)) == Reason.IMAGE_UNREADABLE


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_object_is_read_or_refused_never_another_error(data: st.DataObject) -> None:
    content = bytearray(a_dicom_instance())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    limits = DecodeLimits(max_frame_px=1_000_000, max_volume_px=10_000_000)
    reason = None
    try:
        frames_from_dicom(bytes(content), limits=limits, isolate=False)
    except CdsError as error:
        reason = error.reason
    assert reason in {None, Reason.IMAGE_UNREADABLE, Reason.IMAGE_UNSUPPORTED}


def test_grey_png_keeps_its_values() -> None:
    (frame,) = frames_from_picture(a_picture_file(), isolate=False)
    np.testing.assert_allclose(frame.pixels, a_ramp(bits=8) / 255.0, atol=1e-6)


def test_sixteen_bit_png_keeps_its_precision() -> None:
    (frame,) = frames_from_picture(a_picture_file(a_ramp(bits=16)), isolate=False)
    np.testing.assert_allclose(frame.pixels, a_ramp(bits=16) / 65535.0, atol=1e-6)


def test_colour_and_transparency_become_luminance_over_black() -> None:
    samples = np.array([[[255, 0, 0, 255], [255, 255, 255, 0]]], dtype=np.uint8)
    (frame,) = frames_from_picture(a_picture_file(samples), isolate=False)
    np.testing.assert_allclose(frame.pixels[0], [0.299, 0.0], atol=1e-6)


def test_exif_orientation_is_applied() -> None:
    samples = np.zeros((8, 16), dtype=np.uint8)
    samples[:, 8:] = 255
    # One tag: orientation 6, turn clockwise to view.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (frame,) = frames_from_picture(a_picture_file(samples, kind="JPEG", exif=exif), isolate=False)
    assert frame.pixels.shape == (16, 8)
    assert frame.pixels[:6].max() < 0.1
    assert frame.pixels[10:].min() > 0.9


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(PDF, Reason.IMAGE_UNSUPPORTED, id="pdf"),
        pytest.param(a_picture_file()[:60], Reason.IMAGE_UNREADABLE, id="truncated"),
    ],
)
def test_bad_picture_is_refused_with_a_reason(content: bytes, reason: Reason) -> None:
    with pytest.raises(CdsError) as caught:
        frames_from_picture(content, isolate=False)
    assert caught.value.reason == reason


@pytest.mark.parametrize("content", [a_picture_file(), a_dicom_instance()], ids=["png", "dicom"])
def test_kind_of_a_file_is_told_by_its_bytes(content: bytes) -> None:
    (frame,) = frames_from_file(content, isolate=False)
    assert frame.pixels.shape == (12, 16)
