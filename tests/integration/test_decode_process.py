from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from cds.adapters.decode_process import DecodeProcess
from cds.adapters.dicom_decoding import DEFAULT_LIMITS, DecodeLimits, decoded_frame, decoded_frames
from cds.domain.errors import CdsError, Reason
from tests.builders.dicom import a_dicom_instance, a_picture_file, a_ramp


@pytest.fixture
def process() -> Iterator[DecodeProcess]:
    decoding = DecodeProcess()
    yield decoding
    decoding.close()


def child_pid(process: DecodeProcess) -> int:
    assert process._child is not None
    return process._child.pid


def test_isolated_frame_equals_the_frame_decoded_here(process: DecodeProcess) -> None:
    content = a_dicom_instance(a_ramp(300, 200))
    (isolated,) = process.decode("dicom", content, DEFAULT_LIMITS, timeout_s=None)
    direct = decoded_frame(content, DEFAULT_LIMITS)
    np.testing.assert_array_equal(isolated.pixels, direct.pixels)
    assert isolated.attributes == direct.attributes


def test_stack_of_slices_crosses_as_its_key_slices(process: DecodeProcess) -> None:
    stack = np.stack([a_ramp(20, 30) + i for i in range(21)]).astype(np.uint16)
    content = a_dicom_instance(stack, Modality="MR")
    isolated = process.decode("dicom", content, DEFAULT_LIMITS, timeout_s=None)
    assert [f.attributes.frame_number for f in isolated] == [11, 5, 8, 14, 17]
    for here, there in zip(decoded_frames(content, DEFAULT_LIMITS), isolated, strict=True):
        np.testing.assert_array_equal(here.pixels, there.pixels)
        assert here.attributes == there.attributes


def test_stack_when_its_key_slices_are_too_many_pixels_gives_the_middle_one(
    process: DecodeProcess,
) -> None:
    content = a_dicom_instance(np.zeros((21, 20, 30), np.uint16), Modality="CT")
    limits = DecodeLimits(max_frame_px=1000)
    (frame,) = process.decode("dicom", content, limits, timeout_s=None)
    assert frame.attributes.frame_number == 11


def test_object_that_claims_a_million_slices_is_no_stack(process: DecodeProcess) -> None:
    content = a_dicom_instance(np.zeros((2, 1, 1), np.uint16), Modality="CT", NumberOfFrames=10**9)
    with pytest.raises(CdsError) as caught:
        process.decode("dicom", content, DEFAULT_LIMITS, timeout_s=None)
    assert caught.value.reason == Reason.IMAGE_UNREADABLE


def test_refusal_crosses_the_process_boundary(process: DecodeProcess) -> None:
    with pytest.raises(CdsError) as caught:
        process.decode("dicom", b"%PDF-1.7", DEFAULT_LIMITS, timeout_s=None)
    assert caught.value.reason == Reason.IMAGE_UNREADABLE


def test_child_serves_several_pictures(process: DecodeProcess) -> None:
    process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=None)
    pid = child_pid(process)
    process.decode("dicom", a_dicom_instance(), DEFAULT_LIMITS, timeout_s=None)
    assert child_pid(process) == pid


def test_child_that_dies_is_replaced_counted_and_logged(
    process: DecodeProcess, caplog: pytest.LogCaptureFixture
) -> None:
    process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=None)
    os.kill(child_pid(process), signal.SIGKILL)
    with pytest.raises(CdsError) as caught:
        process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=None)
    assert caught.value.reason == Reason.IMAGE_UNREADABLE
    (frame,) = process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=None)
    assert frame.pixels.shape == (12, 16)
    assert process.n_lost == 1
    assert [record.message for record in caplog.records] == ["decoding-process-lost"]


def test_answer_that_nobody_took_never_becomes_the_next_pictures(
    process: DecodeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError

    process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=None)
    with monkeypatch.context() as patch:
        patch.setattr("cds.adapters.decode_process.receive_message", out_of_memory)
        with pytest.raises(MemoryError):
            process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=None)
    theirs = a_dicom_instance(a_ramp(300, 200))
    (frame,) = process.decode("dicom", theirs, DEFAULT_LIMITS, timeout_s=None)
    np.testing.assert_array_equal(frame.pixels, decoded_frame(theirs, DEFAULT_LIMITS).pixels)


def test_child_that_hangs_is_killed_at_the_limit(process: DecodeProcess) -> None:
    process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=None)
    hung = child_pid(process)
    os.kill(hung, signal.SIGSTOP)
    with pytest.raises(CdsError) as caught:
        process.decode("picture", a_picture_file(), DecodeLimits(timeout_s=0.2), timeout_s=None)
    assert caught.value.reason == Reason.IMAGE_UNREADABLE
    assert child_pid(process) != hung


def test_caller_whose_time_is_up_gets_the_deadline(process: DecodeProcess) -> None:
    process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=None)
    os.kill(child_pid(process), signal.SIGSTOP)
    with pytest.raises(CdsError) as caught:
        process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=0.05)
    assert caught.value.reason == Reason.DEADLINE


def test_cold_start_beyond_the_callers_time_is_kept_for_the_next_call(
    process: DecodeProcess,
) -> None:
    process.start()
    pid = child_pid(process)
    with pytest.raises(CdsError) as caught:
        process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=0.001)
    assert caught.value.reason == Reason.DEADLINE
    process.decode("picture", a_picture_file(), DEFAULT_LIMITS, timeout_s=None)
    assert child_pid(process) == pid


def test_memory_hog_is_refused_and_spares_this_process(process: DecodeProcess) -> None:
    # A header that promises far more pixels than the child may hold.
    content = a_dicom_instance(Rows=60000, Columns=60000, NumberOfFrames=1)
    limits = DecodeLimits(max_frame_px=10**10, max_volume_px=10**11)
    with pytest.raises(CdsError) as caught:
        process.decode("dicom", content, limits, timeout_s=None)
    assert caught.value.reason == Reason.IMAGE_UNREADABLE


def test_child_sees_no_environment_of_the_parent(
    process: DecodeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRECEDENT_KEY_FILE", "/nowhere/key.json")
    process.start()
    deadline_at = time.monotonic() + 5
    environment = b""
    while not environment and time.monotonic() < deadline_at:
        with open(f"/proc/{child_pid(process)}/environ", "rb") as source:  # noqa: PTH123  # procfs
            environment = source.read()
    assert b"OMP_NUM_THREADS=1" in environment
    assert b"PRECEDENT" not in environment
