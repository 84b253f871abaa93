from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from cds.adapters.decode_wire import WireClosedError, receive_message, send_message
from cds.adapters.decode_worker import answer, serve
from cds.adapters.dicom_decoding import DecodeLimits
from cds.domain.errors import Reason
from tests.builders.dicom import a_dicom_instance, a_picture_file, a_ramp

LIMITS = asdict(DecodeLimits())
MAX_BYTES = 1_000_000


@pytest.fixture
def channels() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_worker_greets_then_answers_until_the_channel_closes(
    channels: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = channels
    worker = threading.Thread(target=serve, args=(theirs, MAX_BYTES))
    worker.start()
    assert receive_message(ours, max_payload_bytes=0)[0] == {"ready": True}
    for kind, content in (("picture", a_picture_file()), ("dicom", a_dicom_instance())):
        send_message(ours, {"kind": kind, "limits": LIMITS}, content)
        header, payload = receive_message(ours, max_payload_bytes=MAX_BYTES)
        assert header["frames"][0]["shape"] == [12, 16]
        assert len(payload) == 4 * 12 * 16
    ours.close()
    worker.join(timeout=10)
    assert not worker.is_alive()


def test_frame_crosses_as_raw_float32() -> None:
    _, payload = answer({"kind": "picture", "limits": LIMITS}, a_picture_file())
    pixels = np.frombuffer(payload, dtype=np.float32).reshape(12, 16)
    np.testing.assert_allclose(pixels, a_ramp(bits=8) / 255.0, atol=1e-6)


@pytest.mark.parametrize(
    ("header", "content", "reason"),
    [
        pytest.param(
            {"kind": "dicom", "limits": LIMITS}, b"%PDF", Reason.IMAGE_UNREADABLE, id="pdf"
        ),
        pytest.param({"kind": "dicom"}, b"", Reason.IMAGE_UNREADABLE, id="no-limits"),
        pytest.param({"kind": "dicom", "limits": {"x": 1}}, b"", Reason.IMAGE_UNREADABLE, id="odd"),
        pytest.param(
            {"kind": "dicom", "limits": LIMITS},
            a_dicom_instance(PixelData=None),
            Reason.IMAGE_UNSUPPORTED,
            id="no-picture",
        ),
    ],
)
def test_whatever_goes_wrong_becomes_a_reason(
    header: dict[str, Any], content: bytes, reason: Reason
) -> None:
    reply, payload = answer(header, content)
    assert reply["reason"] == reason.value
    assert len(payload) == 0


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(struct.pack("<IQ", 10**6, 0), id="header-too-long"),
        pytest.param(struct.pack("<IQ", 2, 10**9) + b"{}", id="payload-too-long"),
        pytest.param(struct.pack("<IQ", 3, 0) + b"[1]", id="header-no-object"),
        pytest.param(struct.pack("<IQ", 3, 0) + b"{no", id="header-no-json"),
        pytest.param(b"\x01", id="cut-off"),
    ],
)
def test_message_that_breaks_the_format_ends_the_talk(
    channels: tuple[socket.socket, socket.socket], raw: bytes
) -> None:
    ours, theirs = channels
    theirs.sendall(raw)
    theirs.close()
    with pytest.raises(WireClosedError):
        receive_message(ours, max_payload_bytes=1000)


def test_message_that_does_not_come_in_time_is_a_timeout(
    channels: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = channels
    for until_s in (time.monotonic() - 1, time.monotonic() + 0.01):
        with pytest.raises(TimeoutError):
            receive_message(ours, max_payload_bytes=1000, until_s=until_s)
