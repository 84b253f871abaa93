from __future__ import annotations

from typing import Any

import pytest

from cds.adapters.egress import EgressClients
from cds.adapters.smart_configuration import KEPT_FOR_S, SmartConfigurations
from cds.domain.errors import CdsError, Reason
from cds.domain.time_limit import TimeLimit
from tests.builders.registration import a_registration
from tests.fakes.http_server import Reply, a_server


def a_document(url: str, **overrides: Any) -> dict[str, Any]:
    return {
        "issuer": f"{url}/fhir",
        "authorization_endpoint": f"{url}/auth/authorize",
        "token_endpoint": f"{url}/auth/token",
        "introspection_endpoint": f"{url}/auth/introspect",
        "jwks_uri": f"{url}/auth/jwks",
        "capabilities": ["launch-ehr", 3],
        "code_challenge_methods_supported": ["S256"],
        **overrides,
    }


def test_configuration_is_read_below_a_base_with_a_path_and_kept() -> None:
    now_s = [0.0]
    with a_server(lambda _: Reply.json(a_document(server.url))) as server:
        registration = a_registration(
            fhir_base_url=f"{server.url}/r4/fhir/", permitted_networks=("127.0.0.1",)
        )
        found = SmartConfigurations(EgressClients(development=True), clock=lambda: now_s[0])
        first = found.read(registration, deadline=TimeLimit(5))
        assert found.read(registration, deadline=TimeLimit(5)) == first
        assert [asked.path for asked in server.asked] == [
            "/r4/fhir/.well-known/smart-configuration"
        ]
        assert first.token_endpoint == f"{server.url}/auth/token"
        assert first.capabilities == ("launch-ehr",)
        now_s[0] = KEPT_FOR_S + 1
        found.read(registration, deadline=TimeLimit(5))
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(Reply(404), Reason.UPSTREAM_FAILED, id="none"),
        pytest.param(Reply.json(["no object"]), Reason.UPSTREAM_FAILED, id="no-object"),
        pytest.param(Reply(body=b"<html>"), Reason.UPSTREAM_FAILED, id="no-json"),
        pytest.param(Reply.json({"capabilities": []}), Reason.UPSTREAM_FAILED, id="no-token-url"),
        pytest.param(
            Reply.json(a_document("http://127.0.0.1:1")), Reason.EGRESS_REFUSED, id="other-origin"
        ),
    ],
)
def test_configuration_that_cannot_be_trusted_is_refused(reply: Reply, reason: Reason) -> None:
    with a_server(lambda _: reply) as server:
        registration = a_registration(
            fhir_base_url=f"{server.url}/fhir", permitted_networks=("127.0.0.1",)
        )
        found = SmartConfigurations(EgressClients(development=True))
        with pytest.raises(CdsError) as caught:
            found.read(registration, deadline=TimeLimit(5))
    assert caught.value.reason == reason
