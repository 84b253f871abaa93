"""A strict SMART Backend Services token server; a test can make it misbehave in one way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tests.fakes.http_server import Asked, LocalServer, Reply, a_server

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_S = 300


@dataclass
class TokenServer:
    """What the server knows and how it is told to misbehave.

    `key_set` is asked at every request, as a server would fetch our published keys. `refused_for`
    keeps why each refused assertion was refused.
    """

    key_set: Callable[[], Mapping[str, Any]]
    client_id: str = "precedent-backend"
    algorithms: tuple[str, ...] = ("ES384", "RS384")
    granted: str | None = None
    members: dict[str, Any] = field(default_factory=dict)
    error: tuple[int, dict[str, Any]] | None = None
    clock_ahead_s: float = 0.0
    before_answer: Callable[[], None] | None = None
    seen_jtis: set[str] = field(default_factory=set)
    headers: list[dict[str, Any]] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    refused_for: list[str] = field(default_factory=list)
    issued: set[str] = field(default_factory=set)
    server: LocalServer | None = None

    @property
    def base(self) -> str:
        assert self.server is not None
        return self.server.url

    @property
    def fhir_base_url(self) -> str:
        return f"{self.base}/fhir"

    @property
    def token_endpoint(self) -> str:
        return f"{self.base}/auth/token"

    def now(self) -> float:
        return time.time() + self.clock_ahead_s

    def smart_configuration(self) -> dict[str, Any]:
        return {
            "token_endpoint": self.token_endpoint,
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(self.algorithms),
            "code_challenge_methods_supported": ["S256"],
            "capabilities": ["client-confidential-asymmetric", "permission-v2"],
        }

    def answer(self, asked: Asked) -> Reply:
        """Serve discovery and the token endpoint."""
        assert self.server is not None
        self.server.clock_ahead_s = self.clock_ahead_s
        if asked.path == "/fhir/.well-known/smart-configuration":
            return Reply.json(self.smart_configuration(), kind="application/json")
        if (asked.method, asked.path) == ("POST", "/auth/token"):
            status, members = self.token(asked)
            reply = Reply.json(members, status, kind="application/json")
            return Reply(status, reply.body, {**reply.headers, "Cache-Control": "no-store"})
        return Reply(404)

    def token(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        """Check the request as SMART tells a server to, and issue a token."""
        form = {k: v[0] for k, v in parse_qs(asked.body.decode()).items()}
        self.forms.append(form)
        if self.before_answer is not None:
            self.before_answer()
        if self.error is not None:
            return self.error
        if form.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        if form.get("client_assertion_type") != ASSERTION_TYPE or not form.get("scope"):
            return 400, {"error": "invalid_request"}
        why = self.objection(form.get("client_assertion", ""))
        if why is not None:
            self.refused_for.append(why)
            return 401, {"error": "invalid_client"}
        token = f"SECRET-BACKEND-TOKEN-{len(self.issued) + 1}"
        self.issued.add(token)
        members = {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": 300,
            "scope": form["scope"] if self.granted is None else self.granted,
            **self.members,
        }
        return 200, {k: v for k, v in members.items() if v is not None}

    def objection(self, assertion: str) -> str | None:
        """Return why an assertion is refused, or None."""
        try:
            keys = KeySet.import_key_set(dict(self.key_set()))  # type: ignore[arg-type]
            decoded = jwt.decode(assertion, keys, algorithms=list(self.algorithms))
        except (JoseError, ValueError) as error:
            return f"signature: {type(error).__name__}"
        header, claims = decoded.header, decoded.claims
        self.headers.append(dict(header))
        self.claims.append(dict(claims))
        is_ours = {claims.get("iss"), claims.get("sub")} == {self.client_id}
        objections = {
            "header": header.get("typ") != "JWT" or not header.get("kid"),
            "client": not is_ours,
            "aud": claims.get("aud") != self.token_endpoint,
            "exp": not self.now() < claims.get("exp", 0) <= self.now() + LONGEST_S,
            "jti": not claims.get("jti") or claims["jti"] in self.seen_jtis,
        }
        found = next((name for name, applies in objections.items() if applies), None)
        if found is not None:
            return found
        self.seen_jtis.add(claims["jti"])
        return None


@contextmanager
def a_token_server(
    key_set: Callable[[], Mapping[str, Any]], **values: Any
) -> Iterator[TokenServer]:
    """Serve on a free loopback port until the block ends."""
    server = TokenServer(key_set, **values)
    with a_server(server.answer) as listening:
        server.server = listening
        yield server
