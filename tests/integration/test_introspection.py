"""What the EHR says about a token, asked of a real server on loopback."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cds.adapters.egress import EgressClients
from cds.adapters.ehr_peers import EhrPeers, TokenClaims
from cds.domain.errors import CdsError, Reason
from cds.domain.secrecy import SecretText
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock
from tests.fakes.http_server import LocalServer, Reply, a_server

NOW = datetime(2026, 11, 12, 7, 5, tzinfo=UTC)
TOKEN = SecretText("token-of-this-user")
ACTIVE = {
    "active": True,
    "scope": "user/*.rs",
    "client_id": "portal",
    "sub": "okafor",
    "fhirUser": "https://ehr.example.invalid/fhir/Practitioner/okafor",
    "exp": int((NOW + timedelta(minutes=5)).timestamp()),
}


class Introspection:
    """An EHR that answers with `says`."""

    def __init__(self) -> None:
        self.says: dict[str, Any] = dict(ACTIVE)
        self.peers = EhrPeers(EgressClients(development=True), clock=FixedClock(NOW))
        self.server: LocalServer

    def ask(self, *, ehr_id: str = "site", now: datetime = NOW) -> TokenClaims:
        registration = a_registration(
            ehr_id=ehr_id,
            fhir_base_url=f"{self.server.url}/fhir",
            introspection_url=f"{self.server.url}/introspect",
            permitted_networks=("127.0.0.0/8",),
        )
        return self.peers.introspect(registration, TOKEN, now=now)


@pytest.fixture
def ehr() -> Iterator[Introspection]:
    asked = Introspection()
    with a_server(lambda _: Reply.json(asked.says)) as asked.server:
        yield asked


def test_active_token_has_its_scope_client_and_user(ehr: Introspection) -> None:
    claims = ehr.ask()
    assert (claims.scope, claims.client_id, claims.subject) == ("user/*.rs", "portal", "okafor")
    assert claims.fhir_user == ACTIVE["fhirUser"]
    assert claims.patient_id is None


@pytest.mark.parametrize(
    "change",
    [
        {"active": False},
        {"active": "true"},
        {"exp": None},
        {"exp": True},
        {"exp": "4102444800"},
        {"exp": 1_700_000_000},
        {"exp": 1e300},
        {"exp": 10**18},
    ],
    ids=str,
)
def test_token_that_is_not_plainly_active_is_refused(
    ehr: Introspection, change: dict[str, Any]
) -> None:
    ehr.says |= change
    with pytest.raises(CdsError) as caught:
        ehr.ask()
    assert caught.value.reason is Reason.NOT_AUTHENTICATED


def test_answer_is_kept_for_half_a_minute_and_for_its_own_ehr_only(ehr: Introspection) -> None:
    ehr.ask()
    ehr.says["active"] = False
    assert ehr.ask(now=NOW + timedelta(seconds=29)).client_id == "portal"
    for change in ({"ehr_id": "other"}, {"now": NOW + timedelta(seconds=31)}):
        with pytest.raises(CdsError):
            ehr.ask(**change)


def test_refused_token_is_asked_about_again_only_after_ten_seconds(ehr: Introspection) -> None:
    ehr.says["active"] = False
    for seconds in (0, 3, 9):
        with pytest.raises(CdsError):
            ehr.ask(now=NOW + timedelta(seconds=seconds))
    assert len(ehr.server.asked) == 1
    ehr.says["active"] = True
    assert ehr.ask(now=NOW + timedelta(seconds=11)).client_id == "portal"
