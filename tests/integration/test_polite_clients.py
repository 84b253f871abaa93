"""Prompt work asks the PACS under its policy; the EHR is asked as ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cds.adapters.egress import EgressClient
from cds.adapters.pacs_gate import PacsGate, PacsGates
from cds.adapters.polite_clients import PoliteClients
from cds.domain.errors import CdsError, Reason
from cds.domain.pacs_policy import PacsPolicy
from cds.domain.registration import EhrRegistration
from cds.domain.time_limit import TimeLimit
from tests.builders.registration import a_registration
from tests.fakes.faults import Faulty, status
from tests.fakes.http_server import LocalServer, Reply, a_server
from tests.fakes.pace import FakeTime

POLICY = PacsPolicy(requests_per_s=4.0, breaker_failures=3)


class Site:
    """An EHR and a PACS on one origin, and a client of both."""

    def __init__(self, server: LocalServer, faulty: Faulty) -> None:
        self.server = server
        self.faulty = faulty
        self.time = FakeTime()
        self.registration: EhrRegistration = a_registration(
            fhir_base_url=f"{server.url}/fhir",
            default_pacs_url=f"{server.url}/dicomweb",
            permitted_networks=("127.0.0.0/8",),
            pacs_policy=POLICY,
        )
        self.gates = PacsGates(pace=self.time.pace)
        self.clients = PoliteClients(self.gates, development=True)

    @property
    def client(self) -> EgressClient:
        return self.clients(self.registration)

    @property
    def gate(self) -> PacsGate:
        return self.gates(self.registration)

    def ask(self, path: str, seconds: float = 10) -> bytes:
        return self.client.get(self.server.url + path, deadline=TimeLimit(seconds)).body

    def refusal(self, path: str, seconds: float = 10) -> CdsError:
        with pytest.raises(CdsError) as caught:
            self.ask(path, seconds)
        return caught.value


@pytest.fixture
def site() -> Iterator[Site]:
    faulty = Faulty(lambda _asked: Reply(200, b"[]"))
    with a_server(faulty) as server:
        yield Site(server, faulty)


def test_pacs_is_asked_at_its_distance_and_the_ehr_as_ever(site: Site) -> None:
    for _ in range(5):
        assert site.ask("/dicomweb/studies") == b"[]"
    assert site.time.elapsed_s == pytest.approx(1.0)
    for _ in range(5):
        assert site.ask("/fhir/Patient") == b"[]"
        assert site.ask("/dicomweb-of-another/studies") == b"[]"
    assert site.time.elapsed_s == pytest.approx(1.0)


def test_pacs_that_fails_repeatedly_is_left_alone_and_the_ehr_is_not(site: Site) -> None:
    site.faulty.always = status(500)
    for _ in range(3):
        assert site.refusal("/dicomweb/studies").facts["status"] == 500
    n_asked = len(site.server.asked)
    error = site.refusal("/dicomweb/studies")
    assert (error.reason, len(site.server.asked)) == (Reason.UPSTREAM_FAILED, n_asked)
    assert "retry_after_s" in error.facts
    site.faulty.always = None
    assert site.ask("/fhir/Patient") == b"[]"
    site.time.sleep(60)
    assert site.ask("/dicomweb/studies") == b"[]"
    assert site.gate.breaker.open_for_s is None


def test_caller_whose_time_is_up_says_nothing_against_the_pacs(site: Site) -> None:
    for _ in range(POLICY.breaker_failures + 2):
        assert site.refusal("/dicomweb/studies", seconds=0).reason is Reason.DEADLINE
    assert site.gate.breaker.open_for_s is None
    assert site.server.asked == []


def test_client_is_kept_per_registration(site: Site) -> None:
    assert site.client is site.client
