"""The session store in memory and the one in SQL give the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cds.adapters.crypto import FieldCipher
from cds.adapters.smart_sessions import SqlSessionStore
from cds.adapters.sql.door_models import LaunchState, SmartSession
from cds.adapters.sql.engine import open_database
from smart_app.launch.session_store import SessionStore
from tests.fakes.clock import FixedClock
from tests.fakes.session_store import MemorySessionStore

START = datetime(2026, 11, 12, 7, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAYLOAD = {"patient_id": "p4-seeded", "shown": [], "needs_patient_banner": True}


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest.fixture
def database(tmp_path: Path, database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url or f"sqlite:///{tmp_path / 'sessions.db'}")
    for table in (SmartSession, LaunchState):
        table.metadata.tables[table.__tablename__].create(engine)
    yield engine
    engine.dispose()


def _sql(database: Engine, clock: FixedClock) -> SessionStore:
    return SqlSessionStore(database, FieldCipher({"d1": bytes(range(32))}, "d1"), clock)


def _memory(_database: Engine, clock: FixedClock) -> SessionStore:
    return MemorySessionStore(clock)


@pytest.fixture(params=[_sql, _memory], ids=["sql", "memory"])
def store(request: pytest.FixtureRequest, database: Engine, clock: FixedClock) -> SessionStore:
    make: Callable[[Engine, FixedClock], SessionStore] = request.param
    return make(database, clock)


def everything_kept(database: Engine) -> str:
    with database.connect() as connection:
        return str(
            [connection.execute(t.__table__.select()).all() for t in (SmartSession, LaunchState)]
        )


def test_session_when_created_is_read_with_its_ehr_and_payload(store: SessionStore) -> None:
    record = store.read(store.create("site-a", PAYLOAD, lifetime=HOUR))
    assert record is not None
    assert (record.ehr_id, dict(record.payload)) == ("site-a", PAYLOAD)


def test_session_ids_when_created_twice_differ_and_are_long(store: SessionStore) -> None:
    one, two = (store.create("site-a", PAYLOAD, lifetime=HOUR) for _ in range(2))
    assert one != two
    assert len(one) >= 43  # 256 bits in base64url


def test_session_when_replaced_holds_the_new_payload(store: SessionStore) -> None:
    session_id = store.create("site-a", PAYLOAD, lifetime=HOUR)
    store.replace(session_id, {"patient_id": "p5"})
    record = store.read(session_id)
    assert record is not None
    assert dict(record.payload) == {"patient_id": "p5"}


def test_session_when_used_every_29_minutes_lives_until_its_lifetime_ends(
    store: SessionStore, clock: FixedClock
) -> None:
    session_id = store.create("site-a", PAYLOAD, lifetime=HOUR)
    clock.advance(timedelta(minutes=29))
    assert store.read(session_id) is not None
    clock.advance(timedelta(minutes=29))
    assert store.read(session_id) is not None
    clock.advance(timedelta(minutes=2))
    assert store.read(session_id) is None


def test_session_when_idle_for_30_minutes_has_ended_for_good(
    store: SessionStore, clock: FixedClock
) -> None:
    session_id = store.create("site-a", PAYLOAD, lifetime=HOUR)
    clock.advance(timedelta(minutes=30))
    store.replace(session_id, PAYLOAD)
    assert store.read(session_id) is None


def test_session_when_revoked_is_gone_and_revoking_again_is_fine(store: SessionStore) -> None:
    session_id = store.create("site-a", PAYLOAD, lifetime=HOUR)
    store.revoke(session_id)
    store.revoke(session_id)
    assert store.read(session_id) is None
    assert store.read("never-made") is None


def test_state_when_taken_is_spent(store: SessionStore) -> None:
    store.put_state("state-1", "site-a", PAYLOAD, lifetime=HOUR)
    first = store.take_state("state-1")
    assert first is not None
    assert dict(first.payload) == PAYLOAD
    assert store.take_state("state-1") is None
    assert store.take_state("state-2") is None


def test_state_when_too_old_is_refused(store: SessionStore, clock: FixedClock) -> None:
    store.put_state("state-1", "site-a", PAYLOAD, lifetime=timedelta(minutes=10))
    clock.advance(timedelta(minutes=10))
    assert store.take_state("state-1") is None


def test_database_when_sessions_are_kept_holds_no_id_and_no_patient(
    database: Engine, clock: FixedClock
) -> None:
    store = _sql(database, clock)
    session_id = store.create("site-a", PAYLOAD, lifetime=HOUR)
    store.put_state("state-of-the-launch", "site-a", PAYLOAD, lifetime=HOUR)
    content = everything_kept(database)
    assert "site-a" in content
    for secret in (session_id, "state-of-the-launch", "p4-seeded"):
        assert secret not in content


def test_sessions_that_have_ended_are_removed_when_another_is_created(
    database: Engine, clock: FixedClock
) -> None:
    store = _sql(database, clock)
    store.create("site-a", PAYLOAD, lifetime=HOUR)
    store.put_state("state-1", "site-a", PAYLOAD, lifetime=HOUR)
    clock.advance(HOUR)
    store.create("site-a", PAYLOAD, lifetime=HOUR)
    store.put_state("state-2", "site-a", PAYLOAD, lifetime=HOUR)
    with database.connect() as connection:
        counts = [
            connection.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar()
            for table in ("smart_session", "launch_state")
        ]
    assert counts == [1, 1]
