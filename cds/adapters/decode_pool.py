"""Several decoding processes for bulk work: as many pictures at once as there are children."""

from __future__ import annotations

from contextlib import contextmanager
from queue import Empty, LifoQueue
from time import monotonic
from typing import TYPE_CHECKING, Protocol, Self

from cds.adapters.decode_process import TIME_UP, DecodeProcess
from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from cds.adapters.dicom_attributes import DecodedFrame
    from cds.adapters.dicom_decoding import DecodeLimits


class Decoding(Protocol):
    """Decodes untrusted pictures somewhere else than here: `DecodeProcess`, `DecodePool`."""

    def decode(
        self, kind: str, content: bytes, limits: DecodeLimits, *, timeout_s: float | None
    ) -> tuple[DecodedFrame, ...]:
        """Decode one picture (see `DecodeProcess.decode`)."""
        ...


class DecodePool:
    """Up to `n_children` decoding processes, each a `DecodeProcess` of its own.

    Call `decode` from as many threads as there are children; a caller beyond that waits for the
    first that is free. The child used last is used first, so that a light load warms only one.
    Belongs to the process that made it: not to be used across a fork.

    Parameters
    ----------
    n_children
        At least 1. Each may use what `DecodeLimits.memory_bytes` says.

    """

    def __init__(self, n_children: int) -> None:
        if n_children < 1:
            raise ValueError("a pool has at least one child")
        self._children = [DecodeProcess() for _ in range(n_children)]
        self._free: LifoQueue[DecodeProcess] = LifoQueue()
        for child in reversed(self._children):
            self._free.put(child)

    @property
    def n_lost(self) -> int:
        """Return how many children were lost to a picture so far."""
        return sum(child.n_lost for child in self._children)

    @property
    def child_pids(self) -> tuple[int, ...]:
        """Return the process ids of the children that run."""
        return tuple(pid for child in self._children if (pid := child.child_pid) is not None)

    def start(self) -> None:
        """Start every child in the background."""
        for child in self._children:
            child.start()

    def close(self) -> None:
        """End every child."""
        for child in self._children:
            child.close()

    def decode(
        self, kind: str, content: bytes, limits: DecodeLimits, *, timeout_s: float | None
    ) -> tuple[DecodedFrame, ...]:
        """Decode one picture in the first child that is free.

        Raises
        ------
        CdsError
            As `DecodeProcess.decode`; DEADLINE also if no child was free in time.

        """
        with self._one(timeout_s) as (child, left_s):
            return child.decode(kind, content, limits, timeout_s=left_s)

    @contextmanager
    def _one(self, timeout_s: float | None) -> Iterator[tuple[DecodeProcess, float | None]]:
        began_s = monotonic()
        try:
            child = self._free.get(timeout=timeout_s)
        except Empty as error:
            raise CdsError(Reason.DEADLINE, TIME_UP) from error
        left_s = None if timeout_s is None else max(0.0, timeout_s - (monotonic() - began_s))
        try:
            yield child, left_s
        finally:
            self._free.put(child)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
