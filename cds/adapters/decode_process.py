"""Keeps one killable decoding process, because a decoder may crash, hang or eat memory."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cds.adapters.decode_wire import WireClosedError, receive_message, send_message
from cds.adapters.dicom_attributes import DecodedFrame, FrameAttributes
from cds.adapters.dicom_decoding import UNREADABLE, DecodeLimits
from cds.domain.errors import CdsError, Reason

log = logging.getLogger(__name__)

START_S = 15.0  # importing numpy, pydicom and imagecodecs on a busy machine
BYTES_PER_PIXEL = 4
TIME_UP = "The time for decoding the picture was up."


class DecodeProcess:
    """One child process that decodes pictures one after the other.

    The child is started at the first use (or by `start`), answers until it breaks, and is replaced
    when it dies or is too slow. It shares nothing with this process but one socket: what comes back
    is JSON and raw pixels, checked here. Safe to use from several threads; safe across a fork.

    Attributes
    ----------
    n_lost
        How many children were lost to a picture: died, or were killed at a limit.

    """

    def __init__(self) -> None:
        self.n_lost = 0
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._is_ready = False
        self._owner_pid = 0

    def start(self) -> None:
        """Start the child in the background, so that the first picture need not wait for it."""
        with self._lock:
            self._started()

    @property
    def child_pid(self) -> int | None:
        """Return the process id of the child, None while there is none."""
        return self._child.pid if self._child is not None else None

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._stop()

    def decode(
        self, kind: str, content: bytes, limits: DecodeLimits, *, timeout_s: float | None
    ) -> tuple[DecodedFrame, ...]:
        """Decode one picture in the child.

        Parameters
        ----------
        kind
            ``dicom`` or ``picture``.
        content
            Untrusted bytes.
        limits
            What the picture may cost.
        timeout_s
            What the caller has left; None means only the limit counts.

        Returns
        -------
        tuple of DecodedFrame
            The key frame; of a stack of slices the key slices, the middle one first.

        Raises
        ------
        CdsError
            The child's reason; IMAGE_UNREADABLE if the picture broke the child or took longer than
            the limit; DEADLINE if the caller's time was up first.

        """
        if len(content) > limits.max_bytes:
            raise CdsError(
                Reason.IMAGE_UNREADABLE,
                f"The object is larger than {limits.max_bytes // 1024**2} MB.",
            )
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0.0)):
            raise CdsError(Reason.DEADLINE, TIME_UP)
        try:
            self._wait_until_ready(until_s)
            header, payload = self._exchange(kind, content, limits, until_s)
        finally:
            self._lock.release()
        return _frames_from(header, payload)

    def _exchange(
        self, kind: str, content: bytes, limits: DecodeLimits, until_s: float | None
    ) -> tuple[dict[str, Any], bytearray]:
        allowed_until_s = time.monotonic() + limits.timeout_s
        is_callers = until_s is not None and until_s < allowed_until_s
        stop_at_s = until_s if until_s is not None and is_callers else allowed_until_s
        channel = self._started()
        header = {"kind": kind, "limits": asdict(limits)}
        try:
            send_message(channel, header, content, until_s=stop_at_s)
            return receive_message(
                channel,
                max_payload_bytes=BYTES_PER_PIXEL * limits.max_frame_px,
                until_s=stop_at_s,
            )
        except TimeoutError as error:
            self._replace()
            if is_callers:
                raise CdsError(Reason.DEADLINE, TIME_UP) from error
            raise CdsError(
                Reason.IMAGE_UNREADABLE,
                f"The picture could not be decoded within {limits.timeout_s:g} s.",
            ) from error
        except (WireClosedError, OSError) as error:
            self._replace()
            raise CdsError(
                Reason.IMAGE_UNREADABLE, "The picture broke the decoder: it may be damaged."
            ) from error
        except BaseException:  # out of memory, told to exit: an answer may still be on its way,
            self._stop()  # and must never become the answer about the next picture
            raise

    def _wait_until_ready(self, until_s: float | None) -> None:
        channel = self._started()
        if self._is_ready:
            return
        start_until_s = time.monotonic() + START_S
        stop_at_s = start_until_s if until_s is None else min(until_s, start_until_s)
        try:
            receive_message(channel, max_payload_bytes=0, until_s=stop_at_s)
        except TimeoutError as error:
            raise CdsError(
                Reason.DEADLINE, TIME_UP
            ) from error  # it goes on starting; the next call finds it ready
        except (WireClosedError, OSError) as error:
            self._stop()
            raise CdsError(
                Reason.IMAGE_UNREADABLE, "The decoding process could not be started."
            ) from error
        self._is_ready = True

    def _started(self) -> socket.socket:
        if self._owner_pid != os.getpid():  # first use, or we are a fork of the owner
            self._child, self._channel, self._is_ready = None, None, False
        if self._channel is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._child = subprocess.Popen(  # our own interpreter and module
                    [sys.executable, "-m", "cds.adapters.decode_worker"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_child_environment(),
                )
            self._channel, self._is_ready, self._owner_pid = ours, False, os.getpid()
            atexit.register(self._stop)
        return self._channel

    def _replace(self) -> None:
        self.n_lost += 1
        log.warning("decoding-process-lost", extra={"n_lost": self.n_lost})
        self._stop()
        self._started()

    def _stop(self) -> None:
        if self._owner_pid != os.getpid():
            return
        atexit.unregister(self._stop)
        if self._channel is not None:
            self._channel.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._child, self._channel, self._is_ready = None, None, False


def _child_environment() -> dict[str, str]:
    """Return the import path and nothing else: no setting, no secret."""
    package_root = str(Path(__file__).resolve().parents[2])
    return {
        "PYTHONPATH": os.pathsep.join([package_root, *(p for p in sys.path if p)]),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _frames_from(header: dict[str, Any], payload: bytearray) -> tuple[DecodedFrame, ...]:
    if "reason" in header:
        raise CdsError(Reason(header["reason"]), str(header["sentence"]))
    try:
        frames, start = [], 0
        for described in header["frames"]:
            rows, columns = (int(n) for n in described["shape"])
            pixels = np.frombuffer(payload, np.float32, count=rows * columns, offset=start)
            attributes = FrameAttributes.from_json(described["attributes"])
            frames.append(DecodedFrame(pixels.reshape(rows, columns), attributes))
            start += pixels.nbytes
    except (KeyError, TypeError, ValueError) as error:
        raise CdsError(Reason.IMAGE_UNREADABLE, UNREADABLE) from error
    if not frames or start != len(payload):
        raise CdsError(Reason.IMAGE_UNREADABLE, UNREADABLE)
    return tuple(frames)


SHARED_PROCESS = DecodeProcess()
