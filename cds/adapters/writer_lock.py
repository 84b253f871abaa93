"""One writer of the index at a time, over every process and machine that shares it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select

from cds.domain.errors import CdsError, Reason

LOCK_FILE = ".writer.lock"
ADVISORY_KEY = 0x50524543  # "PREC": the key of PostgreSQL's advisory lock, the same everywhere
POLL_S = 0.1
WAIT_S = 1_800.0  # a build of a million vectors takes minutes


class WriterLock:
    """A lock on the index folder and, on PostgreSQL, on the database.

    Both are released by the operating system or the server when their holder dies: a kill leaves
    no lock behind. SQLite needs the first only: its file lies on the same machine.

    Parameters
    ----------
    folder
        The index folder.
    engine
        The installation's database.

    """

    def __init__(self, folder: Path, engine: Engine) -> None:
        self._folder = folder
        self._engine = engine

    @contextmanager
    def held(
        self, *, wait_s: float = WAIT_S, on_wait: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """Hold the lock for a block.

        Parameters
        ----------
        wait_s
            How long to wait for another writer; 0 means not at all.
        on_wait
            Called once if another writer is at work.

        Raises
        ------
        CdsError
            INDEX_UNAVAILABLE if another writer holds it for longer.

        """
        until = time.monotonic() + wait_s
        while True:
            with self._attempt() as is_held:
                if is_held:
                    yield
                    return
            if on_wait is not None:
                on_wait()
                on_wait = None
            if time.monotonic() >= until:
                raise CdsError(
                    Reason.INDEX_UNAVAILABLE, "Another process is building the index at the moment."
                )
            time.sleep(POLL_S)

    @contextmanager
    def _attempt(self) -> Iterator[bool]:
        with _file_lock(self._folder) as has_file:
            if not has_file or self._engine.dialect.name != "postgresql":
                yield has_file
                return
            with self._engine.connect() as connection, _advisory_lock(connection) as has_database:
                yield has_database


@contextmanager
def _file_lock(folder: Path) -> Iterator[bool]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)  # releases the lock


@contextmanager
def _advisory_lock(connection: Connection) -> Iterator[bool]:
    """Hold the session's lock; a transaction left open meanwhile would be cut off as idle."""
    is_held = bool(connection.scalar(select(func.pg_try_advisory_lock(ADVISORY_KEY))))
    connection.commit()
    try:
        yield is_held
    finally:
        if is_held:
            connection.scalar(select(func.pg_advisory_unlock(ADVISORY_KEY)))
            connection.commit()
