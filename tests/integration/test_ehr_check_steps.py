"""Each broken step of a connection gives its own line with what to do."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cds.adapters.backend_keys import SqlBackendKeys
from cds.adapters.egress_policy import EgressPolicy, origin_of
from cds.adapters.probes.connection_check import CheckTools, ConnectionCheck
from cds.adapters.probes.reach import Reach
from cds.adapters.storage import initialise, open_storage
from cds.domain.check_line import CheckLine, Verdict
from cds.domain.registration import CdsClient, EhrRegistration, SigningAlgorithm
from cds.settings import Settings
from tests.builders.certificate import a_certificate
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock
from tests.fakes.http_server import Answer, Asked, Reply, a_server
from tests.fakes.token_server import TokenServer, a_token_server

CAPABILITY = {
    "resourceType": "CapabilityStatement",
    "fhirVersion": "4.0.1",
    "rest": [
        {
            "resource": [
                {"type": kind}
                for kind in (
                    *("Patient", "ImagingStudy", "Observation", "Condition"),
                    *("DiagnosticReport", "ServiceRequest", "Endpoint"),
                )
            ]
        }
    ],
}
LAUNCHABLE = {
    "authorization_endpoint": "http://127.0.0.1:9/authorize",
    "jwks_uri": "http://127.0.0.1:9/jwks",
    "issuer": "http://127.0.0.1:9",
    "capabilities": ["launch-ehr"],
}
EMPTY = {"resourceType": "Bundle", "type": "searchset"}


@dataclass
class Site:
    """A small EHR whose answers a test replaces one by one; `answers` is path -> reply."""

    server: TokenServer
    keys: SqlBackendKeys
    answers: dict[str, Reply]
    registration: EhrRegistration

    @property
    def public_url(self) -> str:
        return f"{self.server.base}/cds"

    def lines(
        self,
        *patient_ids: str,
        clock: FixedClock | None = None,
        resolve: Callable[[str, int], Sequence[str]] | None = None,
        **changes: Any,
    ) -> dict[str, CheckLine]:
        tools = CheckTools(
            self.keys,
            clock or FixedClock(datetime.now(UTC)),
            development=True,
            public_url=self.public_url,
        )
        if resolve is not None:
            tools = replace(tools, resolve=resolve)
        found = ConnectionCheck(replace(self.registration, **changes), tools).run(patient_ids)
        return {line.name: line for line in found.lines}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = Settings(state_dir=tmp_path)
    initialise(settings)
    storage = open_storage(settings)
    keys = storage.backend_keys
    keys.ensure("a", SigningAlgorithm.ES384)
    with a_token_server(lambda: keys.key_set("a")) as server:
        launchable = {**LAUNCHABLE, **server.smart_configuration()}
        launchable["capabilities"] = LAUNCHABLE["capabilities"]
        answers = {
            "/fhir/metadata": Reply.json(CAPABILITY),
            "/fhir/.well-known/smart-configuration": Reply.json(launchable),
            "/fhir/Patient": Reply.json(EMPTY),
            "/dicomweb/studies": Reply(204),
            "/cds/t/a/cds-services": Reply.json({"services": [{"id": "x"}]}),
            "/cds/t/a/jwks.json": Reply.json(keys.key_set("a")),
            "/jwks": Reply.json({"keys": [{"kid": "1", "kty": "EC"}]}),
        }
        assert server.server is not None
        from_token_server: Answer = server.answer

        def answer(asked: Asked) -> Reply:
            return answers.get(asked.path) or from_token_server(asked)

        server.server.answer = answer
        registration = a_registration(
            fhir_base_url=server.fhir_base_url,
            origins=("http://127.0.0.1:9",),
            default_pacs_url=f"{server.base}/dicomweb",
            permitted_networks=("127.0.0.1",),
            backend_client_id="precedent-backend",
            backend_scopes=("system/Patient.rs", "system/ImagingStudy.rs"),
            cds_clients=(CdsClient("https://ehr.example.invalid", jku=f"{server.base}/jwks"),),
        )
        yield Site(server, keys, answers, registration)
    storage.engine.dispose()


def test_check_when_everything_answers_has_no_failure_and_asks_for_nobodys_data(
    site: Site,
) -> None:
    lines = site.lines()
    assert {line.name for line in lines.values() if line.verdict is Verdict.FAIL} == set()
    assert {name for name, line in lines.items() if line.verdict is Verdict.PASS} == {
        *("own discovery", "own key set"),
        *("fhir dns", "fhir tcp", "fhir capability", "fhir clock", "smart configuration"),
        *("backend token", "backend scopes", "fhir search", "pacs qido", "hook keys"),
    }
    assert lines["fhir tls"].verdict is Verdict.WARN  # http, in development
    assert site.server.server is not None
    asked = {one.path: one for one in site.server.server.asked}
    assert asked["/fhir/Patient"].query["_id"] == ["precedent-connection-test"]
    assert asked["/fhir/Patient"].headers["authorization"] == "Bearer SECRET-BACKEND-TOKEN-1"
    assert asked["/dicomweb/studies"].query["StudyInstanceUID"] == ["2.25.0"]
    assert "SECRET" not in str(lines)


def test_check_when_the_name_does_not_resolve_says_so_and_tries_nothing_more(site: Site) -> None:
    def nothing(_host: str, _port: int) -> Sequence[str]:
        raise OSError("no such name")

    lines = site.lines(resolve=nothing, fhir_base_url="http://ehr.example.invalid/fhir")
    assert lines["fhir dns"].verdict is Verdict.FAIL
    assert "ehr.example.invalid does not resolve" in lines["fhir dns"].evidence
    assert "DNS record" in lines["fhir dns"].action
    for name in ("fhir tcp", "fhir tls", "fhir capability"):
        assert lines[name].verdict is Verdict.UNKNOWN


def test_check_when_the_address_is_not_permitted_names_the_flag(site: Site) -> None:
    lines = site.lines(permitted_networks=())
    assert lines["fhir dns"].verdict is Verdict.FAIL
    assert "--permitted-network 127.0.0.1" in lines["fhir dns"].action


def test_check_when_the_port_refuses_says_so(site: Site) -> None:
    lines = site.lines(fhir_base_url="http://127.0.0.1:1/fhir")
    assert lines["fhir tcp"].verdict is Verdict.FAIL
    assert "127.0.0.1 port 1 refused the connection" in lines["fhir tcp"].evidence


@pytest.mark.parametrize(
    ("path", "reply", "name", "verdict", "part"),
    [
        pytest.param(
            "/fhir/metadata", Reply(404), "fhir capability", Verdict.FAIL, "base URL", id="no-fhir"
        ),
        pytest.param(
            "/fhir/metadata",
            Reply.json({**CAPABILITY, "fhirVersion": "3.0.2"}),
            "fhir capability",
            Verdict.FAIL,
            "FHIR R4",
            id="stu3",
        ),
        pytest.param(
            "/fhir/metadata",
            Reply.json({**CAPABILITY, "rest": []}),
            "fhir capability",
            Verdict.WARN,
            "enable",
            id="types-missing",
        ),
        pytest.param(
            "/fhir/metadata",
            Reply(302, headers={"Location": "http://127.0.0.1:9/"}),
            "fhir capability",
            Verdict.FAIL,
            "lines on DNS",
            id="redirect",
        ),
        pytest.param(
            "/fhir/.well-known/smart-configuration",
            Reply(404),
            "smart configuration",
            Verdict.FAIL,
            ".well-known/smart-configuration",
            id="no-smart",
        ),
        pytest.param(
            "/fhir/.well-known/smart-configuration",
            Reply.json({"token_endpoint": "http://127.0.0.1:7/token"}),
            "smart configuration",
            Verdict.FAIL,
            "--origin",
            id="token-server-elsewhere",
        ),
        pytest.param(
            "/fhir/Patient", Reply(401), "fhir search", Verdict.FAIL, "token is not", id="401"
        ),
        pytest.param(
            "/fhir/Patient", Reply(403), "fhir search", Verdict.FAIL, "scopes granted", id="403"
        ),
        pytest.param(
            "/fhir/Patient",
            Reply(200, b"<html>"),
            "fhir search",
            Verdict.FAIL,
            "what this search answers",
            id="no-bundle",
        ),
        pytest.param(
            "/dicomweb/studies", Reply(404), "pacs qido", Verdict.FAIL, "-pacs-url", id="no-qido"
        ),
        pytest.param(
            "/dicomweb/studies", Reply(401), "pacs qido", Verdict.FAIL, "--pacs-user", id="account"
        ),
        pytest.param(
            "/dicomweb/studies",
            Reply(200, b"<html>", {"Content-Type": "text/html"}),
            "pacs qido",
            Verdict.FAIL,
            "web page",
            id="a-page",
        ),
        pytest.param(
            "/cds/t/a/cds-services",
            Reply(404),
            "own discovery",
            Verdict.FAIL,
            "PRECEDENT_PUBLIC_URL",
            id="proxy",
        ),
        pytest.param(
            "/cds/t/a/jwks.json",
            Reply.json({"keys": []}),
            "own key set",
            Verdict.FAIL,
            "same database",
            id="other-keys",
        ),
        pytest.param(
            "/jwks", Reply.json({"keys": []}), "hook keys", Verdict.FAIL, "CDS client", id="no-keys"
        ),
    ],
)
def test_check_when_one_answer_is_wrong_names_the_step_and_the_change(
    site: Site, path: str, reply: Reply, name: str, verdict: Verdict, part: str
) -> None:
    site.answers[path] = reply
    line = site.lines()[name]
    assert line.verdict is verdict
    assert part in line.action


def test_check_when_less_is_granted_names_the_scope(site: Site) -> None:
    site.server.granted = "system/Patient.rs"
    line = site.lines()["backend scopes"]
    assert line.verdict is Verdict.FAIL
    assert line.evidence == "not granted: system/ImagingStudy.rs"


def test_check_when_our_key_is_not_known_says_what_to_compare(site: Site) -> None:
    site.server.key_set = lambda: {"keys": []}
    line = site.lines()["backend token"]
    assert line.verdict is Verdict.FAIL
    assert "invalid_client" in line.evidence
    assert "precedent ehr show a" in line.evidence


@pytest.mark.parametrize(
    ("ahead_s", "verdict"), [(45, Verdict.WARN), (-45, Verdict.WARN), (300, Verdict.FAIL)]
)
def test_check_when_the_clocks_differ_says_by_how_much(
    site: Site, ahead_s: int, verdict: Verdict
) -> None:
    site.server.clock_ahead_s = ahead_s
    assert site.server.server is not None
    site.server.server.clock_ahead_s = ahead_s
    line = site.lines()["fhir clock"]
    assert line.verdict is verdict
    assert ("ahead of" if ahead_s > 0 else "behind") in line.evidence
    assert "NTP" in line.action


def test_check_when_no_backend_client_is_registered_is_unknown_not_wrong(site: Site) -> None:
    lines = site.lines(backend_client_id=None)
    assert lines["backend token"].verdict is Verdict.UNKNOWN
    assert lines["fhir search"].verdict is Verdict.UNKNOWN
    assert "--token-file" in lines["fhir search"].action


@pytest.mark.parametrize(
    ("next_url", "verdict"),
    [
        pytest.param("{base}/fhir/page2", Verdict.PASS, id="below"),
        pytest.param("{base}/other/page2", Verdict.FAIL, id="elsewhere"),
        pytest.param(None, Verdict.UNKNOWN, id="none"),
    ],
)
def test_check_when_results_have_pages_follows_links_below_the_base_only(
    site: Site, next_url: str | None, verdict: Verdict
) -> None:
    patient = {"resourceType": "Patient", "id": "p1"}
    observation = {"resource": {"resourceType": "Observation", "status": "final"}}
    page: dict[str, Any] = {**EMPTY, "entry": [observation]}
    if next_url is not None:
        url = next_url.format(base=site.server.base)
        page["link"] = [{"relation": "next", "url": url}]
    site.answers |= {
        "/fhir/Observation": Reply.json(page),
        "/fhir/page2": Reply.json(EMPTY),
        "/fhir/ImagingStudy": Reply.json(EMPTY),
        "/fhir/Patient/p1": Reply.json(patient),
        "/fhir/ServiceRequest": Reply.json(EMPTY),
    }
    lines = site.lines("p1")
    assert lines["fhir paging"].verdict is verdict
    assert lines["fhir search"].verdict is Verdict.WARN  # no ImagingStudy
    assert site.server.server is not None
    assert "/other/page2" not in [one.path for one in site.server.server.asked]


@pytest.mark.parametrize(
    ("certificate_host", "ends_in", "is_trusted", "verdict", "part"),
    [
        pytest.param("localhost", timedelta(days=90), True, Verdict.PASS, "", id="good"),
        pytest.param("localhost", timedelta(days=9), True, Verdict.WARN, "renew", id="ends-soon"),
        pytest.param(
            "localhost", timedelta(days=90), False, Verdict.FAIL, "PRECEDENT_CA_FILE", id="issuer"
        ),
        pytest.param("localhost", -timedelta(days=1), True, Verdict.FAIL, "renew it", id="expired"),
        pytest.param(
            "pacs.example.invalid", timedelta(days=90), True, Verdict.FAIL, "name", id="other-host"
        ),
    ],
)
def test_tls_when_a_certificate_is_shown_says_whether_it_serves(  # one row each
    tmp_path: Path,
    certificate_host: str,
    ends_in: timedelta,
    is_trusted: bool,  # one column of the table
    verdict: Verdict,
    part: str,
) -> None:
    ca_file, chain_file = a_certificate(tmp_path, certificate_host, ends_in=ends_in)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file)
    with a_server(lambda _: Reply(), context) as server:
        url = f"https://localhost:{server.port}"
        registration = a_registration(fhir_base_url=url, permitted_networks=("127.0.0.1",))
        policy = EgressPolicy(registration, development=False)
        reach = Reach(
            policy,
            datetime.now(UTC),
            ca_file if is_trusted else None,
            lambda _host, _port: ("127.0.0.1",),
        )
        lines = {line.name: line for line in reach.lines("fhir", origin_of(url))}
    assert lines["fhir tcp"].verdict is Verdict.PASS
    line = lines["fhir tls"]
    assert line.verdict is verdict
    assert part in line.action
    assert (
        f"CN={certificate_host}" in line.evidence
        or verdict is not Verdict.FAIL
        or ("expired on" in line.evidence)
    )


def test_tls_when_the_port_speaks_none_says_so() -> None:
    with a_server(lambda _: Reply()) as server:
        url = f"https://localhost:{server.port}"
        registration = a_registration(fhir_base_url=url, permitted_networks=("127.0.0.1",))
        reach = Reach(
            EgressPolicy(registration, development=False),
            datetime.now(UTC),
            resolve=lambda _host, _port: ("127.0.0.1",),
        )
        line = reach.lines("fhir", origin_of(url))[-1]
    assert line.verdict is Verdict.FAIL
    assert "no TLS handshake" in line.evidence
