"""Messages between the product and its decoding process: lengths, JSON, raw bytes; no pickle."""

from __future__ import annotations

import json
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

_LENGTHS = struct.Struct("<IQ")  # bytes of the JSON header, bytes of the payload
MAX_HEADER_BYTES = 64 * 1024


class WireClosedError(Exception):
    """The other side has gone or speaks nonsense."""


def send_message(
    channel: socket.socket,
    header: dict[str, Any],
    payload: bytes | memoryview,
    *,
    until_s: float | None = None,
) -> None:
    """Send one message.

    Parameters
    ----------
    channel
        A connected stream socket.
    header, payload
        JSON object and raw bytes.
    until_s
        ``time.monotonic()`` value to give up at; None waits for ever.

    """
    text = json.dumps(header).encode()
    channel.settimeout(_left_s(until_s))
    channel.sendall(_LENGTHS.pack(len(text), memoryview(payload).nbytes) + text)
    channel.settimeout(_left_s(until_s))
    channel.sendall(payload)


def receive_message(
    channel: socket.socket, *, max_payload_bytes: int, until_s: float | None = None
) -> tuple[dict[str, Any], bytearray]:
    """Receive one message.

    Returns
    -------
    tuple
        Header and payload.

    Raises
    ------
    WireClosedError
        If the other side closed, or the message breaks the format or the size limit.

    """
    lengths = _receive_exactly(channel, _LENGTHS.size, until_s)
    header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
    if header_bytes > MAX_HEADER_BYTES or payload_bytes > max_payload_bytes:
        raise WireClosedError
    text = _receive_exactly(channel, header_bytes, until_s)
    payload = _receive_exactly(channel, payload_bytes, until_s)
    try:
        header = json.loads(text)
    except ValueError as error:
        raise WireClosedError from error
    if not isinstance(header, dict):
        raise WireClosedError
    return header, payload


def _receive_exactly(channel: socket.socket, n_bytes: int, until_s: float | None) -> bytearray:
    content = bytearray(n_bytes)
    view, n_read = memoryview(content), 0
    while n_read < n_bytes:
        channel.settimeout(_left_s(until_s))
        n_new = channel.recv_into(view[n_read:])
        if n_new == 0:
            raise WireClosedError
        n_read += n_new
    return content


def _left_s(until_s: float | None) -> float | None:
    if until_s is None:
        return None
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
