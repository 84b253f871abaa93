"""Our own access tokens against a token server that checks every assertion."""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cds.adapters.backend_keys import PUBLISHED_AHEAD, KeyState, SqlBackendKeys
from cds.adapters.backend_services import BackendServiceTokens
from cds.adapters.client_assertion import AssertionFacts, client_assertion
from cds.adapters.egress import EgressClients
from cds.adapters.storage import initialise, open_storage
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration, SigningAlgorithm
from cds.domain.time_limit import TimeLimit
from cds.settings import Settings
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock
from tests.fakes.token_server import TokenServer, a_token_server

SCOPE = "system/Patient.rs system/ImagingStudy.rs"
ES384, RS384 = SigningAlgorithm.ES384, SigningAlgorithm.RS384


@dataclass
class Bench:
    """A token server, the keys that it fetches, and the client under test."""

    server: TokenServer
    keys: SqlBackendKeys
    clock: FixedClock
    registration: EhrRegistration
    tokens: BackendServiceTokens

    def token(self, scope: str = SCOPE, **changes: Any) -> str:
        registration = replace(self.registration, **changes)
        return self.tokens.access_token(registration, scope=scope, deadline=TimeLimit(5)).reveal()

    def refused(self, scope: str = SCOPE, **changes: Any) -> CdsError:
        with pytest.raises(CdsError) as caught:
            self.token(scope, **changes)
        return caught.value


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime.now(UTC))  # the server checks by the real time


@pytest.fixture
def keys(tmp_path: Path, clock: FixedClock) -> Iterator[SqlBackendKeys]:
    settings = Settings(state_dir=tmp_path)
    initialise(settings)
    storage = open_storage(settings, clock)
    yield storage.backend_keys
    storage.engine.dispose()


@pytest.fixture
def bench(keys: SqlBackendKeys, clock: FixedClock) -> Iterator[Bench]:
    keys.ensure("a", ES384)
    with a_token_server(lambda: keys.key_set("a")) as server:
        registration = a_registration(
            fhir_base_url=server.fhir_base_url,
            permitted_networks=("127.0.0.1",),
            backend_client_id="precedent-backend",
        )
        tokens = BackendServiceTokens(EgressClients(development=True), keys, clock)
        yield Bench(server, keys, clock, registration, tokens)


@pytest.mark.requirement("SMART-ASSERTION-CLAIMS")
@pytest.mark.requirement("SMART-ASSERTION-ALGORITHMS")
@pytest.mark.parametrize("algorithm", [ES384, RS384])
def test_token_when_the_server_checks_the_assertion_is_issued(
    bench: Bench, algorithm: SigningAlgorithm
) -> None:
    bench.keys.ensure("a", algorithm)
    assert bench.token(backend_algorithm=algorithm) in bench.server.issued
    assert bench.server.forms[0]["scope"] == SCOPE
    header, claims = bench.server.headers[0], bench.server.claims[0]
    assert header["alg"] == algorithm.value
    assert header["typ"] == "JWT"
    assert header["kid"] == bench.keys.signing_key("a", algorithm).key_id
    assert claims.keys() == {"iss", "sub", "aud", "exp", "jti"}
    assert (claims["iss"], claims["sub"]) == ("precedent-backend", "precedent-backend")
    assert claims["aud"] == bench.server.token_endpoint
    assert claims["exp"] - bench.clock.now().timestamp() <= 300


@pytest.mark.requirement("SMART-C3")
def test_token_when_asked_again_is_the_kept_one_until_shortly_before_it_ends(bench: Bench) -> None:
    first = bench.token()
    bench.clock.advance(timedelta(seconds=269))
    assert bench.token() == first
    bench.clock.at -= timedelta(seconds=269)  # the server would find such an assertion too long
    bench.tokens.forget(bench.registration, scope=SCOPE)
    assert bench.token() != first
    assert len(bench.server.forms) == 2
    jtis = [claims["jti"] for claims in bench.server.claims]
    assert len(set(jtis)) == 2


def test_token_when_it_is_about_to_end_is_replaced(bench: Bench) -> None:
    bench.server.members["expires_in"] = 40
    first = bench.token()
    bench.clock.advance(timedelta(seconds=29))
    assert bench.token() == first
    bench.clock.advance(timedelta(seconds=2))
    assert bench.token() != first


def test_token_when_the_server_names_no_end_is_kept_for_a_short_while(bench: Bench) -> None:
    bench.server.members["expires_in"] = None
    first = bench.token()
    bench.clock.advance(timedelta(seconds=50))
    assert bench.token() != first


def test_token_when_scope_or_registration_differ_is_another_one(bench: Bench) -> None:
    first = bench.token()
    assert bench.token("system/Patient.rs") != first
    assert bench.token(name="renamed") != first


def test_token_when_many_threads_ask_is_requested_once(bench: Bench) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(bench.token())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(bench.server.forms) == 1


def test_token_when_the_process_forked_while_a_lock_was_held_is_still_got(bench: Bench) -> None:
    first = bench.token()
    place = bench.tokens._place("a", SCOPE)
    read_end, write_end = os.pipe()
    with place.lock:
        child = os.fork()
        if child == 0:  # no pytest in here: answer and leave
            os.close(read_end)
            try:
                os.write(write_end, bench.token().encode())
            finally:
                os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answers:
        told = answers.read()
    os.waitpid(child, 0)
    assert told.startswith("SECRET-BACKEND-TOKEN-")
    assert told != first


def test_token_when_no_client_is_configured_is_refused_with_what_to_do(bench: Bench) -> None:
    error = bench.refused(backend_client_id=None)
    assert error.reason is Reason.INVALID_CONFIGURATION
    assert "--backend-client-id" in error.sentence
    assert bench.server.forms == []


def test_token_when_no_key_was_made_is_refused_with_what_to_do(bench: Bench) -> None:
    error = bench.refused(backend_algorithm=RS384)
    assert error.reason is Reason.INVALID_CONFIGURATION
    assert "precedent ehr keys a" in error.sentence


@pytest.mark.parametrize("granted", ["system/Patient.rs", "system/ImagingStudy.r system/*.s", ""])
def test_token_when_less_is_granted_is_refused_naming_what_is_missing(
    bench: Bench, granted: str
) -> None:
    bench.server.granted = granted
    error = bench.refused()
    assert error.reason is Reason.UPSTREAM_REFUSED
    assert "missing: " in error.sentence
    assert ("system/ImagingStudy.rs" in error.sentence) is ("ImagingStudy" not in granted)
    assert ("system/Patient.rs" in error.sentence) is ("Patient" not in granted)


@pytest.mark.parametrize("granted", ["system/*.read", "system/*.cruds openid", None])
def test_token_when_more_or_as_much_is_granted_is_taken(bench: Bench, granted: str | None) -> None:
    bench.server.granted = granted
    if granted is None:
        bench.server.members["scope"] = None
    assert bench.token() in bench.server.issued


def test_assertion_when_sent_twice_is_refused_by_the_server(bench: Bench) -> None:
    facts = AssertionFacts("precedent-backend", bench.server.token_endpoint)
    key = bench.keys.signing_key("a", ES384)
    once = client_assertion(facts, key, now=bench.clock.now()).reveal()
    assert [bench.server.objection(once) for _ in range(2)] == [None, "jti"]


@pytest.mark.parametrize(
    ("server_ahead_s", "is_accepted"), [(140, True), (-140, True), (400, False), (-400, False)]
)
def test_assertion_when_clocks_differ_is_accepted_on_both_sides(
    bench: Bench, server_ahead_s: int, is_accepted: bool
) -> None:
    bench.server.clock_ahead_s = server_ahead_s
    if is_accepted:
        bench.token()
        return
    error = bench.refused()
    assert bench.server.refused_for == ["exp"]
    side = "ahead of" if server_ahead_s > 0 else "behind"
    assert f"s {side} ours" in error.sentence
    assert "NTP" in error.sentence


@pytest.mark.parametrize(
    ("status", "members", "advice"),
    [
        pytest.param(401, {"error": "invalid_client"}, "key set", id="client"),
        pytest.param(401, {}, "key set", id="401-without-code"),
        pytest.param(400, {"error": "invalid_scope"}, "scopes", id="scope"),
        pytest.param(400, {"error": "unauthorized_client"}, "backend services", id="grant"),
        pytest.param(400, {"error": "unsupported_grant_type"}, "token endpoint", id="grant-type"),
        pytest.param(400, {"error": "invalid_request"}, "its log", id="request"),
    ],
)
def test_token_when_the_server_refuses_says_what_to_change(
    bench: Bench, status: int, members: dict[str, Any], advice: str
) -> None:
    bench.server.error = (status, {**members, "error_description": "SERVER-TEXT-4711"})
    error = bench.refused()
    assert error.reason is Reason.UPSTREAM_REFUSED
    assert error.facts["status"] == status
    assert advice in error.sentence
    assert "SERVER-TEXT-4711" not in str(error)


@pytest.mark.parametrize(
    ("status", "members", "part"),
    [
        pytest.param(500, {}, "answered 500", id="500"),
        pytest.param(200, {"token_type": "bearer"}, "no access token", id="no-token"),
        pytest.param(
            200, {"access_token": "x\ny", "token_type": "bearer"}, "no access", id="split"
        ),
        pytest.param(200, {"access_token": "x", "token_type": "mac"}, "no bearer", id="mac"),
    ],
)
def test_token_when_the_answer_cannot_be_used_is_refused(
    bench: Bench, status: int, members: dict[str, Any], part: str
) -> None:
    bench.server.error = (status, members)
    error = bench.refused()
    assert error.reason is Reason.UPSTREAM_FAILED
    assert part in error.sentence


def test_token_when_the_server_is_gone_says_which_command_finds_out(bench: Bench) -> None:
    gone = replace(bench.registration, origins=("http://127.0.0.1:1",))
    endpoint = {"token_endpoint": "http://127.0.0.1:1/token"}
    bench.server.smart_configuration = lambda: endpoint  # type: ignore[method-assign]
    with pytest.raises(CdsError) as caught:
        bench.tokens.access_token(gone, scope=SCOPE, deadline=TimeLimit(5))
    error = caught.value
    assert error.reason is Reason.UPSTREAM_FAILED
    assert "cannot be reached" in error.sentence
    assert "No access token: `precedent ehr check a`" in error.sentence


def test_key_when_rotated_signs_and_the_old_one_stays_published(bench: Bench) -> None:
    before = {key.state: key.key_id for key in bench.keys.published("a")}
    assert before.keys() == {KeyState.ACTIVE, KeyState.NEXT}
    with pytest.raises(CdsError, match="published less than 10 minutes ago"):
        bench.keys.rotate("a", ES384)
    bench.clock.at += PUBLISHED_AHEAD
    bench.keys.rotate("a", ES384)
    bench.clock.at -= PUBLISHED_AHEAD
    after = {key.state: key.key_id for key in bench.keys.published("a")}
    assert after[KeyState.ACTIVE] == before[KeyState.NEXT]
    assert after[KeyState.PREVIOUS] == before[KeyState.ACTIVE]
    assert after[KeyState.NEXT] not in before.values()
    assert bench.token() in bench.server.issued
    assert bench.server.headers[0]["kid"] == before[KeyState.NEXT]
    bench.keys.rotate("a", ES384, force=True)
    published = {key.key_id for key in bench.keys.published("a")}
    assert before[KeyState.ACTIVE] not in published
    assert len(published) == 3
    assert bench.keys.withdraw_previous("a") == 1
    assert len(bench.keys.published("a")) == 2


def test_key_when_the_server_knows_an_old_set_is_refused_as_such(
    keys: SqlBackendKeys, bench: Bench
) -> None:
    known = keys.key_set("a")
    bench.server.key_set = lambda: {"keys": known["keys"][:1]}
    keys.rotate("a", ES384, force=True)
    error = bench.refused()
    assert error.facts["error"] == "invalid_client"
    assert keys.signing_key("a", ES384).key_id in error.sentence


def test_keys_when_two_rotate_at_once_leave_one_in_each_state(bench: Bench) -> None:
    refused: list[CdsError] = []

    def rotate() -> None:
        try:
            bench.keys.rotate("a", ES384, force=True)
        except CdsError as error:
            refused.append(error)

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = [key.state for key in bench.keys.published("a")]
    assert sorted(states) == ["active", "next", "previous"]
    assert len(refused) < 4


def test_keys_when_an_ehr_is_removed_are_gone(keys: SqlBackendKeys) -> None:
    keys.ensure("a", ES384)
    keys.ensure("b", ES384)
    keys.remove("a")
    assert keys.published("a") == ()
    assert len(keys.published("b")) == 2


def test_key_material_when_everything_is_printed_or_stored_stays_secret(
    bench: Bench, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    token = bench.token()
    bench.server.error = (401, {"error": "invalid_client"})
    error = bench.refused("system/Patient.rs")
    key = bench.keys.signing_key("a", ES384)
    private_part = json.loads(key.private_jwk.reveal())["d"]
    grant = bench.tokens._place("a", SCOPE).grant
    shown = f"{key!r} {key} {grant!r} {bench.tokens!r} {error!r} {error.facts} {caplog.text}"
    assertion = bench.server.forms[0]["client_assertion"]
    for secret in (private_part, token, assertion, assertion.rpartition(".")[2]):
        assert secret not in shown
    assert "d" not in json.dumps([list(k) for k in bench.keys.key_set("a")["keys"]]).split('"')
    raw = base64.urlsafe_b64decode(private_part + "==")
    for path in tmp_path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert private_part.encode() not in content
        assert raw not in content
        assert token.encode() not in content
