"""The decoding process: reads untrusted pictures from its standard input's socket, one by one.

Started by `decode_process`; it holds no secret, no key and no environment of its parent, and runs
under resource limits. Whatever breaks here breaks one picture.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
from collections.abc import Callable
from typing import Any

import numpy as np

from cds.adapters.decode_wire import WireClosedError, receive_message, send_message
from cds.adapters.dicom_attributes import DecodedFrame
from cds.adapters.dicom_decoding import UNREADABLE, DecodeLimits, decoded_frames
from cds.adapters.picture_decoding import decoded_picture
from cds.domain.errors import CdsError, Reason

OPEN_FILES = 32
CPU_HEADROOM_S = 5

Buffer = bytes | memoryview


def serve(
    channel: socket.socket, max_bytes: int, *, before_each: Callable[[], None] = lambda: None
) -> None:
    """Answer requests until the parent closes the channel.

    Parameters
    ----------
    channel
        To the parent.
    max_bytes
        Of one picture's file.
    before_each
        Called before each picture.

    """
    send_message(channel, {"ready": True}, b"")
    while True:
        try:
            header, content = receive_message(channel, max_payload_bytes=max_bytes)
        except (WireClosedError, OSError):
            return
        before_each()
        reply, payload = answer(header, bytes(content))
        send_message(channel, reply, payload)


def answer(header: dict[str, Any], content: bytes) -> tuple[dict[str, Any], Buffer]:
    """Decode one picture; whatever goes wrong becomes a reason."""
    try:
        limits = DecodeLimits(**header["limits"])
        if header["kind"] == "dicom":
            frames = decoded_frames(content, limits)
        else:
            frames = (decoded_picture(content, limits),)
        del content
        return {"frames": [_described(frame) for frame in frames]}, _raw(frames)
    except CdsError as error:
        return {"reason": error.reason.value, "sentence": error.sentence}, memoryview(b"")
    except Exception:  # noqa: BLE001  # outermost boundary of this process
        return {"reason": Reason.IMAGE_UNREADABLE.value, "sentence": UNREADABLE}, memoryview(b"")


def _described(frame: DecodedFrame) -> dict[str, Any]:
    return {"shape": list(frame.pixels.shape), "attributes": frame.attributes.to_json()}


def _raw(frames: tuple[DecodedFrame, ...]) -> Buffer:
    views = [np.ascontiguousarray(frame.pixels).data.cast("B") for frame in frames]
    return views[0] if len(views) == 1 else b"".join(views)


def confine(limits: DecodeLimits) -> None:
    """Lower this process's own limits: memory, files, no core dump, nothing written."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))


def allow_cpu() -> None:
    """Let this process use as much more CPU time as one picture may take, then be killed."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed_s = int(used.ru_utime + used.ru_stime + DecodeLimits().timeout_s) + CPU_HEADROOM_S
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed_s, hard))


def main() -> None:
    """Confine the process and serve the socket that is its standard input."""
    logging.disable(logging.CRITICAL)  # pydicom's log lines may quote values
    limits = DecodeLimits()
    confine(limits)
    with socket.socket(fileno=os.dup(0)) as channel:
        serve(channel, limits.max_bytes, before_each=allow_cpu)


if __name__ == "__main__":
    main()
