"""A PostgreSQL of the tests' own: in a temporary folder, on a socket that only its user reaches."""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBIAN_BINARIES = Path("/usr/lib/postgresql/15/bin")
SUPERUSER = "precedent"
START_S = 60
# What is committed survives the server's end, not the machine's: no write has to reach the disk.
OPTIONS = ("fsync=off", "full_page_writes=off", "max_connections=100")


class PostgresqlServer:
    """A server with its data folder; it can be stopped, killed and started again.

    It listens on a Unix socket only. Whoever may enter the socket's folder is trusted: that is the
    user it runs as, and root.
    """

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._data = folder / "data"
        self._sockets = folder
        self._log = folder / "server.log"
        self._names = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: dict[str, Any] = _unprivileged_user(folder)
        self._run(
            *("initdb", "--pgdata", str(self._data), "--username", SUPERUSER, "--no-sync"),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"),
        )

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        options = [text for option in OPTIONS for text in ("-c", option)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binaries / "postgres",
                    *("-D", str(self._data), "-k", str(self._sockets), "-h", ""),
                    *options,
                ],
                stdout=log,
                stderr=log,
                **self._as_user,
            )
        until = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(self._log.read_text("utf-8", "replace")[-2000:])
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT disconnects everybody, SIGQUIT is as bad as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_S)
            self._process = None

    def new_database(self, *, like: str = "") -> str:
        """Make a database, empty or a copy of one that nobody uses; return its SQLAlchemy URL."""
        template = make_url(like).database if like else "template0"
        name = f"t{next(self._names)}_{secrets.token_hex(3)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(
                SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    Identifier(name), Identifier(template or "")
                )
            )
        return f"postgresql+psycopg://{SUPERUSER}@/{name}?host={self._sockets}"

    def _conninfo(self, database: str) -> str:
        return f"host={self._sockets} user={SUPERUSER} dbname={database} connect_timeout=5"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._conninfo("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            capture_output=True,
            cwd=self._sockets,
            **self._as_user,
        )


def _unprivileged_user(folder: Path) -> dict[str, Any]:
    """Return how to start a program that refuses to be root; root's folder becomes that user's."""
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    folders = [DEBIAN_BINARIES, *([Path(found).resolve().parent] if found else [])]
    return next((one for one in folders if (one / "postgres").exists()), None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A running server, shared by the whole session; tests make databases of their own in it."""
    from tests.conftest import missing

    binaries = _binaries()
    if binaries is None:
        missing("PostgreSQL is missing: apt-get install --no-install-recommends postgresql-15.")
        raise AssertionError("not reached: the sentence above skips or fails")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 bytes at most
    server = PostgresqlServer(binaries, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The setting of a fresh database: empty for SQLite in the state folder, else PostgreSQL's."""
    if request.param == "sqlite":
        return ""
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.new_database()
