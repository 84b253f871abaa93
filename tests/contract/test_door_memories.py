"""The doors' memories: the fake and the database give the same answers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cds.adapters.hook_calls import SqlHookCalls
from cds.adapters.seen_tokens import SqlSeenTokens
from cds.adapters.storage import initialise, open_storage
from cds.settings import Settings
from cds.web.hook_calls import HookCalls
from cds.web.seen_tokens import SeenTokens
from tests.builders.answers import NOW
from tests.fakes.clock import FixedClock
from tests.fakes.door_memories import FakeHookCalls, FakeSeenTokens
from tests.servers.postgresql import PostgresqlServer

LATER = NOW + timedelta(minutes=5)


class Memories:
    """One implementation of both ports, with its clock."""

    def __init__(self, kind: str, folder: Path, database_url: str = "") -> None:
        self.clock = FixedClock(NOW)
        self.folder = folder
        self.hook_calls: HookCalls = FakeHookCalls()
        self.seen_tokens: SeenTokens = FakeSeenTokens(self.clock)
        self.dispose = lambda: None
        if kind != "fake":
            settings = Settings(state_dir=folder, database_url=database_url)
            initialise(settings)
            storage = open_storage(settings, self.clock)
            self.hook_calls = SqlHookCalls(storage.engine, storage.cipher, self.clock)
            self.seen_tokens = SqlSeenTokens(storage.engine, self.clock)
            self.dispose = storage.engine.dispose


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
def memories(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memories]:
    url = ""
    if request.param == "postgresql":
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        url = server.new_database()
    made = Memories(request.param, tmp_path, url)
    yield made
    made.dispose()


def save(memory: HookCalls, answer: dict[str, Any], ehr_id: str = "a", row: int = 7) -> None:
    memory.save(ehr_id, "similar", "instance-1", answer=answer, silence_row=row)


def test_answer_when_saved_comes_back_for_this_call_only(memories: Memories) -> None:
    save(memories.hook_calls, {"response": {"cards": [{"summary": "é"}]}})
    answer_for = memories.hook_calls.answer_for
    assert answer_for("a", "similar", "instance-1") == {"response": {"cards": [{"summary": "é"}]}}
    assert answer_for("b", "similar", "instance-1") is None
    assert answer_for("a", "other", "instance-1") is None
    assert answer_for("a", "similar", "instance-2") is None


def test_answer_when_saved_twice_stays_the_first(memories: Memories) -> None:
    save(memories.hook_calls, {"n": 1})
    save(memories.hook_calls, {"n": 2})
    assert memories.hook_calls.answer_for("a", "similar", "instance-1") == {"n": 1}


def test_shown_when_marked_holds_for_this_user_ehr_and_key(memories: Memories) -> None:
    calls, user, key = memories.hook_calls, "u" * 64, "k" * 64
    calls.mark_shown("a", user, key, silence_row=7)
    calls.mark_shown("a", user, key, silence_row=7)
    calls.mark_shown("a", user, key, silence_row=11)
    assert calls.was_shown("a", user, key)
    assert not calls.was_shown("b", user, key)
    assert not calls.was_shown("a", "v" * 64, key)
    assert not calls.was_shown("a", user, "l" * 64)


def test_token_when_accepted_is_refused_until_it_expires(memories: Memories) -> None:
    accept = memories.seen_tokens.accept_once
    assert accept("a", "iss", "jti", expires_at=LATER)
    assert not accept("a", "iss", "jti", expires_at=LATER)
    memories.clock.advance(timedelta(minutes=5, seconds=1))
    assert accept("a", "iss", "jti", expires_at=LATER + timedelta(minutes=5))


def test_token_when_of_another_issuer_or_ehr_is_another_token(memories: Memories) -> None:
    accept = memories.seen_tokens.accept_once
    issuer = "https://" + "long-name." * 40 + "example.invalid"
    assert accept("a", issuer, "jti", expires_at=LATER)
    assert accept("a", issuer + "/b", "jti", expires_at=LATER)
    assert accept("b", issuer, "jti", expires_at=LATER)
    assert accept("a", issuer, "jti-2", expires_at=LATER)


def test_token_when_presented_by_many_at_once_is_accepted_once(memories: Memories) -> None:
    def present(_number: int) -> bool:
        return memories.seen_tokens.accept_once("a", "iss", "jti", expires_at=LATER)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(present, range(16))) == 1


def test_answer_when_kept_in_the_database_cannot_be_read_there(tmp_path: Path) -> None:
    memories = Memories("sqlite", tmp_path)
    save(memories.hook_calls, {"response": "SECRET-CARD-TEXT"})
    memories.seen_tokens.accept_once("a", "iss", "SECRET-JTI", expires_at=LATER)
    memories.dispose()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"instance-1" in stored
    assert b"SECRET" not in stored
