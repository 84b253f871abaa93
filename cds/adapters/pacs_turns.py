"""Whose turn it is to ask a PACS: one budget for every thread and process of an installation."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cds.domain.pacs_policy import PacsPolicy

FOLDER = "pacs-turns"  # below the state folder
SLOT_POLL_S = 0.02
_MAX_FILE_BYTES = 4096
_TIMES = ("next_request_s", "bytes_paid_at_s", "paused_until_s")


def turns_folder(state_dir: Path, pacs_url: str | None) -> Path | None:
    """Return where the processes of an installation share the turns at a PACS; None without one."""
    if not pacs_url:
        return None
    name = hashlib.sha256(pacs_url.rstrip("/").encode()).hexdigest()[:16]
    return state_dir / FOLDER / name


@dataclass(slots=True)
class PacsTurns:
    """When the next request may start, and how many are under way. Safe to use from threads.

    With a folder, its processes share both: times in a small file that is locked while it is read
    and written, and one lock file for each request that may be under way. The operating system
    releases both kinds of lock when their holder dies. Without a folder, or where it cannot be
    written, the budget is this process's own: a full disk stops no clinician.

    Attributes
    ----------
    clock
        Seconds; with a folder those of the wall clock, which processes have in common.
    sleep
        Sleeps so many seconds.

    """

    policy: PacsPolicy
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    folder: Path | None = None
    next_request_s: float = 0.0
    bytes_paid_at_s: float = 0.0
    paused_until_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _parallel: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self._parallel = threading.BoundedSemaphore(self.policy.max_parallel)

    def reserve(self) -> float:
        """Return how long to wait for a turn that is now the caller's."""
        with self._times() as now_s:
            turn_s = max(now_s, self.next_request_s, self.bytes_paid_at_s)
            self.next_request_s = turn_s + 1.0 / self.policy.requests_per_s
            return turn_s - now_s

    def charge(self, n_bytes: int) -> None:
        """Count bytes that came; later turns wait until they are paid for."""
        with self._times() as now_s:
            cost_s = n_bytes / (self.policy.megabytes_per_s * 1e6)
            self.bytes_paid_at_s = max(now_s, self.bytes_paid_at_s) + cost_s

    def pause(self, seconds: float) -> None:
        """Leave the PACS alone for so long, as it has asked."""
        with self._times() as now_s:
            self.paused_until_s = max(self.paused_until_s, now_s + seconds)

    def paused_for_s(self) -> float:
        """Return how long the PACS is still to be left alone; 0 or less if it is not."""
        with self._times() as now_s:
            return self.paused_until_s - now_s

    @contextmanager
    def under_way(self, *, is_prompt: bool) -> Iterator[None]:
        """Hold one of the places for requests under way; waits until one is free.

        Prompt work of one process goes before bulk work of another that waits as well.
        """
        with self._parallel, ExitStack() as held:
            if self.folder is not None:
                self._take_slot(held, self.folder, is_prompt=is_prompt)
            yield

    def _take_slot(self, held: ExitStack, folder: Path, *, is_prompt: bool) -> None:
        with ExitStack() as waiting:
            try:
                if is_prompt:
                    waiting.enter_context(_locked(folder / "prompt", fcntl.LOCK_SH))
                while not self._has_slot(held, folder, is_prompt=is_prompt):
                    self.sleep(SLOT_POLL_S)
            except OSError:
                return

    def _has_slot(self, held: ExitStack, folder: Path, *, is_prompt: bool) -> bool:
        if not is_prompt and not _is_free(folder / "prompt"):
            return False
        for number in range(self.policy.max_parallel):
            try:
                held.enter_context(_locked(folder / f"slot-{number}", fcntl.LOCK_EX, wait=False))
            except BlockingIOError:
                continue
            return True
        return False

    @contextmanager
    def _times(self) -> Iterator[float]:
        """Yield the time now, with the shared times read before and written after."""
        with self._lock, ExitStack() as held:
            descriptor = None
            if self.folder is not None:
                try:
                    descriptor = held.enter_context(_locked(self.folder / "times", fcntl.LOCK_EX))
                except OSError:
                    descriptor = None
            now_s = self.clock()
            if descriptor is not None:
                self._read(descriptor, now_s)
            yield now_s
            if descriptor is not None:
                self._write(descriptor, now_s)

    def _read(self, descriptor: int, now_s: float) -> None:
        """Take over the shared times; a file that cannot be read starts anew."""
        try:
            document = json.loads(os.pread(descriptor, _MAX_FILE_BYTES, 0))
            written_at_s, *times = (float(document[name]) for name in ("at_s", *_TIMES))
        except (OSError, ValueError, TypeError, KeyError):
            return
        set_back_s = max(0.0, written_at_s - now_s)  # the clock was set back meanwhile
        for name, value in zip(_TIMES, times, strict=True):
            setattr(self, name, value - set_back_s)

    def _write(self, descriptor: int, now_s: float) -> None:
        document = {"at_s": now_s, **{name: getattr(self, name) for name in _TIMES}}
        content = json.dumps(document).encode()
        try:
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
        except OSError:
            return  # the disk is full: the next process knows less


@contextmanager
def _locked(path: Path, kind: int, *, wait: bool = True) -> Iterator[int]:
    """Hold a lock on a file that is made if need be; BlockingIOError if it is taken."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        try:
            yield descriptor
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also where a fork holds it open
    finally:
        os.close(descriptor)


def _is_free(path: Path) -> bool:
    try:
        with _locked(path, fcntl.LOCK_EX, wait=False):
            return True
    except BlockingIOError:
        return False
