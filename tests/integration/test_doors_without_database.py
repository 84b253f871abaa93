"""What the doors say while the database is locked, or gone, and after it came back."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from cds.adapters.hook_calls import SqlHookCalls
from cds.adapters.seen_tokens import SqlSeenTokens
from cds.adapters.sql import faults
from cds.adapters.sql.engine import limit_waits
from cds.adapters.storage import Storage, initialise, open_storage
from cds.engine import DOOR_WAIT_MS, engine_from_settings
from cds.settings import Settings
from cds.web.application import create_app
from tests.builders.answers import a_registration
from tests.builders.background import wait_for_repairs
from tests.fakes.machine_door import MachineDoor, a_hook_body
from tests.servers.postgresql import PostgresqlServer
from tests.unit.models.tiny_encoder import tiny_encoder


def a_door_over(storage: Storage) -> MachineDoor:
    """The hooks' door over an analysis that is ready, and over real memories."""
    door = MachineDoor()
    storage.registrations.save(a_registration())
    limit_waits(storage.engine, DOOR_WAIT_MS)
    storage.engine.dispose()
    engine: Any = door.engine
    engine.registrations = storage.registrations
    engine.audit = storage.audit
    engine.hook_calls = SqlHookCalls(storage.engine, storage.cipher, door.clock)
    engine.seen_tokens = SqlSeenTokens(storage.engine, door.clock)
    return door


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[MachineDoor]:
    settings = Settings(state_dir=tmp_path)
    initialise(settings)
    storage = open_storage(settings)
    yield a_door_over(storage)
    storage.engine.dispose()


def sentence_of(response: Any) -> str:
    return str(response.get_json()["issue"][0]["details"]["text"])


def test_hook_when_the_database_is_locked_is_refused_in_words_and_answered_afterwards(
    lite: MachineDoor, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "precedent.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    body = a_hook_body()
    refused = lite.call(body)
    assert (refused.status_code, sentence_of(refused)) == (503, faults.BUSY)
    assert "cards" not in refused.get_json()
    other.execute("COMMIT")
    other.close()
    assert len(lite.cards(body)) == 1


def test_hook_when_postgresql_is_stopped_is_refused_in_words_and_answered_afterwards(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    settings = Settings(state_dir=tmp_path, database_url=postgresql.new_database())
    initialise(settings)
    storage = open_storage(settings)
    door = a_door_over(storage)
    body = a_hook_body()
    postgresql.stop(signal.SIGQUIT)
    try:
        refused = door.call(body)
        assert (refused.status_code, sentence_of(refused)) == (503, faults.GONE)
    finally:
        postgresql.start()
    (card,) = door.cards(body)
    assert door.cards(body) == [card]
    storage.engine.dispose()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        pytest.param("PRAGMA busy_timeout", 200, id="sqlite"),
        pytest.param("SHOW lock_timeout", "200ms", id="postgresql"),
    ],
)
def test_worker_when_prepared_waits_a_moment_only_for_another_writer(
    tmp_path: Path, request: pytest.FixtureRequest, question: str, answer: object
) -> None:
    url = ""
    if question.startswith("SHOW"):
        url = request.getfixturevalue("postgresql").new_database()
    settings = Settings(
        state_dir=tmp_path / "state",
        database_url=url,
        encoder_dir=tiny_encoder(tmp_path / "encoder"),
    )
    initialise(settings)
    engine = engine_from_settings(settings)
    engine.prepare_worker()
    with engine.storage.engine.connect() as connection:
        assert connection.scalar(text(question)) == answer
    wait_for_repairs()
    engine.storage.engine.dispose()
    assert Settings().hook_deadline_ms > DOOR_WAIT_MS


@pytest.fixture
def hospital(tmp_path: Path, postgresql: PostgresqlServer) -> Iterator[Flask]:
    settings = Settings(
        state_dir=tmp_path / "state",
        database_url=postgresql.new_database(),
        encoder_dir=tiny_encoder(tmp_path / "encoder"),
    )
    initialise(settings)
    engine = engine_from_settings(settings)
    yield create_app(engine)
    engine.storage.engine.dispose()


def checks_of(app: Flask) -> dict[str, tuple[bool, str]]:
    answer = app.test_client().get("/health/ready")
    assert answer.status_code == 503  # there is no index in these tests
    return {c["name"]: (c["ok"], c["sentence"]) for c in answer.get_json()["checks"]}


def test_readiness_when_the_database_comes_back_recovers_without_a_restart(
    hospital: Flask, postgresql: PostgresqlServer
) -> None:
    assert checks_of(hospital)["database"] == (True, "The database answers.")
    postgresql.stop()
    try:
        assert checks_of(hospital)["database"] == (False, faults.GONE)
        assert hospital.test_client().get("/health/live").status_code == 200
    finally:
        postgresql.start()
    assert checks_of(hospital)["database"] == (True, "The database answers.")
