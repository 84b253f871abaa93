from __future__ import annotations

import itertools
import logging
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cds.adapters.egress import EgressClient, basic, bearer
from cds.domain.errors import CdsError, Reason
from cds.domain.secrecy import SecretText
from cds.domain.time_limit import TimeLimit
from tests.builders.certificate import a_certificate
from tests.builders.registration import a_registration
from tests.fakes.http_server import LocalServer, Reply, a_server

TOKEN = SecretText("token-of-this-patient")
LOOPBACK = ("127.0.0.0/8",)


def no_resolution(host: str, port: int) -> tuple[str, ...]:
    raise AssertionError(f"{host}:{port} must not be looked up")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with a_server(lambda _: Reply.json({"resourceType": "Patient"})) as running:
        yield running


def a_client(url: str, **options: Any) -> EgressClient:
    overrides = options.pop("registration", {})
    registration = a_registration(
        **{"fhir_base_url": f"{url}/fhir", "permitted_networks": LOOPBACK, **overrides}
    )
    return EgressClient(registration, **{"development": True, **options})


def refusal(client: EgressClient, url: str, **options: Any) -> CdsError:
    with pytest.raises(CdsError) as caught:
        client.get(url, **{"deadline": TimeLimit(5), **options})
    return caught.value


def test_registered_origin_is_fetched_with_its_own_host_header(server: LocalServer) -> None:
    answer = a_client(server.url).get(f"{server.url}/fhir/Patient/1", deadline=TimeLimit(5))
    assert answer.json() == {"resourceType": "Patient"}
    (asked,) = server.asked
    assert asked.headers["host"] == f"127.0.0.1:{server.port}"
    assert "authorization" not in asked.headers
    assert "cookie" not in asked.headers


def test_host_name_is_resolved_once_and_the_checked_address_is_connected_to(
    server: LocalServer,
) -> None:
    answers = itertools.chain([("127.0.0.1",)], itertools.repeat(("169.254.169.254",)))
    url = f"http://ehr.example.invalid:{server.port}"
    client = a_client(url, resolve=lambda _host, _port: next(answers))
    client.get(f"{url}/fhir/a", deadline=TimeLimit(5))
    client.get(f"{url}/fhir/b", deadline=TimeLimit(5))
    assert [asked.path for asked in server.asked] == ["/fhir/a", "/fhir/b"]
    assert server.asked[0].headers["host"] == f"ehr.example.invalid:{server.port}"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://other.example.invalid/fhir", id="other-host"),
        pytest.param("https://ehr.example.invalid:8443/fhir", id="other-port"),
        pytest.param("http://ehr.example.invalid/fhir", id="other-scheme"),
        pytest.param("https://ehr.example.invalid@evil.example.invalid/", id="user-information"),
        pytest.param("https://ehr.example.invalid\\@evil.example.invalid/", id="backslash"),
        pytest.param("https://ehr.example.invalid.evil.example.invalid/", id="longer-name"),
        pytest.param("file:///etc/passwd", id="file"),
    ],
)
def test_unregistered_origin_is_refused_before_any_look_up(url: str) -> None:
    client = a_client("https://ehr.example.invalid", resolve=no_resolution)
    assert refusal(client, url).reason == Reason.EGRESS_REFUSED
    assert not client.allows(url)


def test_http_is_refused_outside_development() -> None:
    client = a_client("http://ehr.example.invalid", development=False, resolve=no_resolution)
    error = refusal(client, "http://ehr.example.invalid/fhir/Patient/1")
    assert error.reason == Reason.EGRESS_REFUSED


@pytest.mark.parametrize(
    ("addresses", "permitted"),
    [
        pytest.param(("127.0.0.1",), (), id="loopback-not-named"),
        pytest.param(("10.1.2.3",), LOOPBACK, id="private-not-named"),
        pytest.param(("::1",), LOOPBACK, id="loopback-v6-not-named"),
        pytest.param(("169.254.169.254",), ("0.0.0.0/0",), id="metadata"),
        pytest.param(("fe80::1",), ("::/0",), id="link-local-v6"),
        pytest.param(("fd00:ec2::254",), ("::/0",), id="metadata-v6"),
        pytest.param(("::ffff:169.254.169.254",), ("::/0", "0.0.0.0/0"), id="mapped-metadata"),
        pytest.param(("64:ff9b::a9fe:a9fe",), ("::/0", "0.0.0.0/0"), id="nat64-metadata"),
        pytest.param(("2002:7f00:1::",), (), id="6to4-loopback"),
        pytest.param(("224.0.0.1",), ("0.0.0.0/0",), id="multicast"),
        pytest.param(("0.0.0.0",), ("0.0.0.0/0",), id="unspecified"),  # refused
        pytest.param(("::",), ("::/0",), id="unspecified-v6"),
        pytest.param(("93.184.215.14", "10.0.0.1"), (), id="one-of-two-private"),
    ],
)
def test_address_outside_the_permitted_networks_is_refused(
    addresses: tuple[str, ...], permitted: tuple[str, ...]
) -> None:
    client = a_client(
        "http://ehr.example.invalid",
        registration={"permitted_networks": permitted},
        resolve=lambda _host, _port: addresses,
    )
    error = refusal(client, "http://ehr.example.invalid/fhir/Patient/1")
    assert error.reason == Reason.EGRESS_REFUSED


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433"])
def test_loopback_in_any_spelling_needs_permission(host: str) -> None:
    client = a_client(f"http://{host}:9", registration={"permitted_networks": ()})
    assert refusal(client, f"http://{host}:9/fhir/x").reason == Reason.EGRESS_REFUSED


def test_registration_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(CdsError) as caught:
        a_client("https://ehr.example.invalid", registration={"permitted_networks": ("ten",)})
    assert caught.value.reason == Reason.INVALID_CONFIGURATION


def test_token_goes_to_its_own_origin_and_to_no_other(server: LocalServer) -> None:
    with a_server(lambda _: Reply.json({})) as pacs:
        client = a_client(server.url, registration={"origins": (pacs.url,)})
        token = bearer(TOKEN, server.url)
        client.get(f"{server.url}/fhir/x", deadline=TimeLimit(5), credential=token)
        client.get(f"{pacs.url}/dicomweb/studies", deadline=TimeLimit(5), credential=token)
        assert server.asked[0].headers["authorization"] == f"Bearer {TOKEN.reveal()}"
        assert "authorization" not in pacs.asked[0].headers


def test_basic_credentials_are_encoded(server: LocalServer) -> None:
    credential = basic("us:er", SecretText("pä"), server.url)
    a_client(server.url).get(f"{server.url}/fhir/x", deadline=TimeLimit(5), credential=credential)
    assert server.asked[0].headers["authorization"] == "Basic dXM6ZXI6cMOk"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_an_error_and_is_not_followed(status: int) -> None:
    with a_server(lambda _: Reply.json({})) as target:
        location = {"Location": f"{target.url}/stolen"}
        with a_server(lambda _: Reply(status, headers=location)) as server:
            client = a_client(server.url, registration={"origins": (target.url,)})
            error = refusal(client, f"{server.url}/fhir/x", credential=bearer(TOKEN, server.url))
        assert error.reason == Reason.UPSTREAM_FAILED
        assert target.asked == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, Reason.UPSTREAM_FAILED),
        (401, Reason.UPSTREAM_REFUSED),
        (403, Reason.UPSTREAM_REFUSED),
        (404, Reason.NOT_FOUND),
        (410, Reason.NOT_FOUND),
        (503, Reason.UPSTREAM_FAILED),
    ],
)
def test_status_becomes_a_reason(status: int, reason: Reason) -> None:
    with a_server(lambda _: Reply(status)) as server:
        error = refusal(a_client(server.url), f"{server.url}/fhir/Patient/secret-id?name=secret")
    assert error.reason == reason
    assert error.facts["status"] == status
    assert "secret" not in str(error)


def test_post_form_returns_any_status() -> None:
    with a_server(lambda _: Reply.json({"error": "invalid_grant"}, 400)) as server:
        answer = a_client(server.url).post_form(
            f"{server.url}/token", {"code": "a b"}, deadline=TimeLimit(5)
        )
    assert (answer.status, answer.json()["error"]) == (400, "invalid_grant")
    assert server.asked[0].body == b"code=a+b"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(body=bytes(5000)), id="length-known"),
        pytest.param(Reply(chunks=[bytes(1000)] * 5), id="length-unknown"),
    ],
)
def test_answer_over_the_size_limit_is_refused(reply: Reply) -> None:
    with a_server(lambda _: reply) as server:
        error = refusal(a_client(server.url), f"{server.url}/fhir/x", max_bytes=4096)
    assert error.reason == Reason.UPSTREAM_FAILED


def test_compressed_answer_that_was_not_asked_for_is_refused() -> None:
    with a_server(lambda _: Reply(headers={"Content-Encoding": "gzip"})) as server:
        error = refusal(a_client(server.url), f"{server.url}/fhir/x")
    assert error.reason == Reason.UPSTREAM_FAILED
    assert server.asked[0].headers["accept-encoding"] == "identity"


def slow_chunks() -> Iterator[bytes]:
    for _ in range(1000):
        time.sleep(0.02)
        yield b"x"


def test_server_that_drips_is_cut_at_the_deadline() -> None:
    with a_server(lambda _: Reply(chunks=slow_chunks())) as server:
        error = refusal(a_client(server.url), f"{server.url}/fhir/x", deadline=TimeLimit(0.3))
    assert error.reason == Reason.DEADLINE


def test_no_request_starts_after_the_deadline(server: LocalServer) -> None:
    error = refusal(a_client(server.url), f"{server.url}/fhir/x", deadline=TimeLimit(0))
    assert error.reason == Reason.DEADLINE
    assert server.asked == []


def test_token_does_not_leave_after_the_deadline_when_the_name_resolves_slowly(
    server: LocalServer,
) -> None:
    def slow(_host: str, _port: int) -> tuple[str, ...]:
        time.sleep(0.5)
        return ("127.0.0.1",)

    url = f"http://ehr.example.invalid:{server.port}"
    token = bearer(TOKEN, url)
    error = refusal(
        a_client(url, resolve=slow), f"{url}/fhir/x", deadline=TimeLimit(0.2), credential=token
    )
    assert error.reason == Reason.DEADLINE
    assert server.asked == []


def test_kept_connection_is_not_used_after_the_deadline_when_the_name_resolves_slowly(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds.adapters.egress_transport.RESOLVED_FOR_S", 0.0)
    waits = itertools.chain([0.0], itertools.repeat(0.5))

    def ever_slower(_host: str, _port: int) -> tuple[str, ...]:
        time.sleep(next(waits))
        return ("127.0.0.1",)

    url = f"http://ehr.example.invalid:{server.port}"
    client = a_client(url, resolve=ever_slower)
    client.get(f"{url}/fhir/first", deadline=TimeLimit(5))
    error = refusal(client, f"{url}/fhir/x", deadline=TimeLimit(0.2), credential=bearer(TOKEN, url))
    assert error.reason == Reason.DEADLINE
    assert [asked.path for asked in server.asked] == ["/fhir/first"]


def test_server_that_is_down_is_upstream_failed(server: LocalServer) -> None:
    with a_server(lambda _: Reply()) as gone:
        url = gone.url
    assert refusal(a_client(url), f"{url}/fhir/x").reason == Reason.UPSTREAM_FAILED


def test_proxy_of_the_environment_is_not_used(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_server(lambda _: Reply(500)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        a_client(server.url).get(f"{server.url}/fhir/x", deadline=TimeLimit(5))
        assert proxy.asked == []


def test_tls_checks_the_name_while_connecting_to_the_checked_address(tmp_path: Path) -> None:
    ca_file, chain_file = a_certificate(tmp_path, "ehr.example.invalid")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file)
    with a_server(lambda _: Reply.json({}), context) as server:
        options: dict[str, Any] = {
            "development": False,
            "ca_file": ca_file,
            "resolve": lambda _host, _port: ("127.0.0.1",),
        }
        url = f"https://ehr.example.invalid:{server.port}"
        assert a_client(url, **options).get(f"{url}/fhir/x", deadline=TimeLimit(5)).status == 200
        url = f"https://other.example.invalid:{server.port}"
        error = refusal(a_client(url, **options), f"{url}/fhir/x")
        assert error.reason == Reason.UPSTREAM_FAILED
        assert "certificate" in error.sentence


def test_nothing_of_the_query_or_the_token_is_logged(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = a_client(server.url)
    client.get(
        f"{server.url}/fhir/Observation?patient=Patient/secret-id",
        deadline=TimeLimit(5),
        credential=bearer(TOKEN, server.url),
    )
    refusal(a_client("http://127.0.0.1:9"), "http://127.0.0.1:9/fhir/Patient/secret-id")
    assert "secret-id" not in caplog.text
    assert TOKEN.reveal() not in caplog.text
