"""A database that is locked, gone, back again or full: a bounded wait, a sentence, nothing lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, text

from cds.adapters.sql import faults
from cds.adapters.sql.engine import open_database
from cds.adapters.storage import Storage, initialise, open_storage
from cds.domain.errors import CdsError, Reason
from cds.ports import AuditEvent
from cds.settings import Settings
from tests.builders.library import a_case, a_picture
from tests.servers.postgresql import PostgresqlServer

EVENT = AuditEvent("a", "case.viewed", "success")


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Storage]:
    settings = Settings(state_dir=tmp_path)
    initialise(settings)
    storage = open_storage(settings)
    yield storage
    storage.engine.dispose()


@pytest.fixture
def hospital(tmp_path: Path, postgresql: PostgresqlServer) -> Iterator[Storage]:
    settings = Settings(state_dir=tmp_path, database_url=postgresql.new_database())
    initialise(settings)
    storage = open_storage(settings)
    yield storage
    storage.engine.dispose()


def add(storage: Storage, number: int) -> bool:
    case = a_case(f"c{number}", pictures=(a_picture(f"p{number}"),))
    return storage.catalogue.add_case(case, content_sha256=[f"sha{number}"], notes={})


def add_many(storage: Storage) -> None:
    for number in range(2, 200):
        add(storage, number)


def be_killed_while_deleting(storage: Storage) -> None:
    with storage.engine.begin() as connection:
        connection.execute(text("DELETE FROM library_case"))
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        with storage.engine.connect() as killer:
            killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        connection.execute(text("SELECT 1"))


def short_patience(storage: Storage) -> None:
    def set_short(connection, _record) -> None:
        connection.execute("PRAGMA busy_timeout = 50")

    storage.engine.dispose()
    event.listen(storage.engine, "connect", set_short)


def test_sqlite_when_locked_for_longer_than_the_wait_says_so_and_goes_on(
    lite: Storage, tmp_path: Path
) -> None:
    short_patience(lite)
    other = sqlite3.connect(tmp_path / "precedent.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CdsError) as refused:
        add(lite, 1)
    assert (refused.value.reason, refused.value.sentence) == (
        Reason.STORAGE_UNAVAILABLE,
        faults.BUSY,
    )
    assert lite.catalogue.n_cases() == 0  # readers are not kept waiting
    other.execute("COMMIT")
    other.close()
    assert add(lite, 1)


def test_sqlite_when_locked_for_a_moment_only_waits(lite: Storage, tmp_path: Path) -> None:
    other = sqlite3.connect(
        tmp_path / "precedent.db", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, other.execute, ["COMMIT"]).start()
    assert add(lite, 1)
    other.close()


def test_sqlite_when_it_cannot_grow_says_so_and_keeps_what_it_has(lite: Storage) -> None:
    assert add(lite, 1)
    with lite.engine.connect() as connection:
        pages = connection.scalar(text("PRAGMA page_count"))
    lite.engine.dispose()

    def set_limit(connection, _record) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(lite.engine, "connect", set_limit)
    with pytest.raises(CdsError) as refused:
        add_many(lite)
    assert refused.value.sentence == faults.FULL
    event.remove(lite.engine, "connect", set_limit)
    lite.engine.dispose()
    before = lite.catalogue.n_cases()
    assert before >= 1
    assert len(list(lite.catalogue.iter_cases())) == before
    assert add(lite, 1_000)


def test_sqlite_when_its_file_is_damaged_says_so(lite: Storage, tmp_path: Path) -> None:
    add(lite, 1)
    lite.engine.dispose()
    file = tmp_path / "precedent.db"
    file.write_bytes(b"not a database at all" * 400)
    with pytest.raises(CdsError) as refused:
        lite.check_database()
    assert refused.value.sentence == faults.DAMAGED


def test_postgresql_when_stopped_and_started_again_is_named_and_recovers(
    hospital: Storage, postgresql: PostgresqlServer
) -> None:
    assert add(hospital, 1)
    hospital.check_database()
    postgresql.stop(signal.SIGQUIT)
    try:
        for attempt in (hospital.check_database, lambda: hospital.audit.record(EVENT)):
            with pytest.raises(CdsError) as refused:
                attempt()
            assert refused.value.reason is Reason.STORAGE_UNAVAILABLE
            assert "does not answer" in refused.value.sentence
    finally:
        postgresql.start()
    hospital.check_database()
    assert not add(hospital, 1)
    assert add(hospital, 2)
    hospital.audit.record(EVENT)
    assert hospital.audit.newest("a") == (EVENT,)


def test_postgresql_when_a_session_is_killed_in_its_transaction_rolls_back_and_goes_on(
    hospital: Storage,
) -> None:
    add(hospital, 1)
    with pytest.raises(CdsError) as refused:
        be_killed_while_deleting(hospital)
    assert refused.value.sentence == faults.GONE
    assert hospital.catalogue.n_cases() == 1


def test_postgresql_when_a_row_stays_locked_is_named_after_a_bounded_wait(
    hospital: Storage,
) -> None:
    add(hospital, 1)
    with hospital.engine.begin() as holder, hospital.engine.begin() as other:
        holder.execute(text("UPDATE library_case SET licence = 'a'"))
        other.execute(text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(CdsError) as refused:
            other.execute(text("UPDATE library_case SET licence = 'b'"))
    assert refused.value.sentence == faults.BUSY


def test_postgresql_when_a_statement_runs_away_is_cut_off(hospital: Storage) -> None:
    with hospital.engine.begin() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "30s"
        connection.execute(text("SET LOCAL statement_timeout = '50ms'"))
        with pytest.raises(CdsError) as refused:
            connection.execute(text("SELECT pg_sleep(5)"))
    assert refused.value.sentence == faults.SLOW


def test_postgresql_when_nobody_listens_is_named_at_the_first_use(tmp_path: Path) -> None:
    settings = Settings(
        state_dir=tmp_path, database_url=f"postgresql+psycopg://u@/d?host={tmp_path}"
    )
    with pytest.raises(CdsError) as refused:
        initialise(settings)
    assert refused.value.sentence == faults.GONE


def test_connections_when_a_worker_is_forked_are_its_own(hospital: Storage) -> None:
    """The child's queries run on another session, and the parent's survives the child's end."""
    mine = backend_pid(hospital)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(backend_pid(hospital)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = int(os.read(reading, 100))
    os.close(reading)
    os.close(writing)
    assert theirs != mine
    assert backend_pid(hospital) == mine


def backend_pid(storage: Storage) -> int:
    with storage.engine.connect() as connection:
        return int(connection.scalar(select(func.pg_backend_pid())) or 0)


def test_error_when_it_is_a_mistake_of_ours_is_not_called_an_outage(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(Exception, match="no such table") as seen, engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM nowhere"))
    assert not isinstance(seen.value, CdsError)
    engine.dispose()


def test_key_when_wrong_or_missing_is_refused_in_words(lite: Storage, tmp_path: Path) -> None:
    add(lite, 1)
    settings = Settings(state_dir=tmp_path)
    other = Settings(state_dir=tmp_path / "other")
    initialise(other)
    stranger = replace(settings, key_file=other.effective_key_file)
    with pytest.raises(CdsError, match="restore the key file") as refused:
        open_storage(stranger)
    assert refused.value.reason is Reason.INVALID_CONFIGURATION
    settings.effective_key_file.rename(tmp_path / "away")
    with pytest.raises(CdsError, match="no key file"):
        open_storage(settings)
    (tmp_path / "away").rename(settings.effective_key_file)
    again = open_storage(settings)
    assert again.catalogue.case_by_id("c1") is not None
    again.engine.dispose()
