"""What servers do when they fail, each as an answer; a script says which request gets which."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from tests.fakes.http_server import Answer, Asked, Reply

STUCK_LIMIT_S = 60.0


class Faulty:
    """A server in front of another one that fails by a script.

    Attributes
    ----------
    script
        What the next requests get; None lets one through. When it is over, all pass.
    always
        What every request gets once the script is over, None lets them pass.

    """

    def __init__(
        self, behind: Answer, *script: Answer | None, always: Answer | None = None
    ) -> None:
        self._behind = behind
        self.script: list[Answer | None] = list(script)
        self.always = always

    def __call__(self, asked: Asked) -> Reply:
        fault = self.script.pop(0) if self.script else self.always
        return self._behind(asked) if fault is None else fault(asked)


class OnlyRetrievals:
    """Puts a fault on the retrieval of objects; searches pass."""

    def __init__(self, behind: Answer, fault: Answer | None = None) -> None:
        self._behind = behind
        self.fault = fault

    def __call__(self, asked: Asked) -> Reply:
        is_retrieval = "multipart/related" in asked.headers.get("accept", "")
        if is_retrieval and self.fault is not None:
            return self.fault(asked)
        return self._behind(asked)


def status(code: int, **headers: str) -> Answer:
    """An answer without a body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _asked: Reply(code, b"", named)


class Hanging:
    """Takes the request and says nothing until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def __call__(self, asked: Asked) -> Reply:
        del asked
        self.released.wait(STUCK_LIMIT_S)
        return Reply(503)


class Trickle:
    """Sends a part of its body now and then, for ever, until it is released.

    Attributes
    ----------
    n_sent
        Bytes that left, also of an answer that nobody reads to its end.

    """

    def __init__(self, chunk: bytes, *, every_s: float, content_type: str) -> None:
        self.released = threading.Event()
        self.n_sent = 0
        self._chunk = chunk
        self._every_s = every_s
        self._content_type = content_type

    def __call__(self, asked: Asked) -> Reply:
        del asked
        return Reply(200, b"", {"Content-Type": self._content_type}, chunks=self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        while not self.released.wait(self._every_s):
            yield self._chunk
            self.n_sent += len(self._chunk)


class Huge:
    """Sends so many bytes as fast as they are taken; with or without saying so beforehand."""

    def __init__(self, n_bytes: int, content_type: str, *, states_length: bool) -> None:
        self.n_sent = 0
        self._n_bytes = n_bytes
        self._headers = {"Content-Type": content_type}
        if states_length:
            self._headers["Content-Length"] = str(n_bytes)

    def __call__(self, asked: Asked) -> Reply:
        del asked
        return Reply(200, b"", dict(self._headers), chunks=self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        block = bytes(1024 * 1024)
        while self.n_sent < self._n_bytes:
            yield block
            self.n_sent += len(block)


class Broken:
    """States the length of the whole answer, sends a part of it and closes the connection."""

    def __init__(self, behind: Answer, share: float = 0.5) -> None:
        self._behind = behind
        self._share = share

    def __call__(self, asked: Asked) -> Reply:
        whole = self._behind(asked)
        headers = {**whole.headers, "Content-Length": str(len(whole.body))}
        part = whole.body[: int(len(whole.body) * self._share)]
        return Reply(whole.status, b"", headers, chunks=[part])


class HalfMultipart:
    """Sends half of a multipart answer as if it were all."""

    def __init__(self, behind: Answer) -> None:
        self._behind = behind

    def __call__(self, asked: Asked) -> Reply:
        whole = self._behind(asked)
        return Reply(whole.status, whole.body[: len(whole.body) // 2], whole.headers)
