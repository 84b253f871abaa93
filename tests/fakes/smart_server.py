"""A strict SMART authorization server on a local port; a test can make it misbehave in one way."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey


@cache
def _key() -> RSAKey:
    """One key for every server of a test run: making one takes half a second."""
    return RSAKey.generate_key(2048, {"kid": "k1"})


@dataclass
class SmartServer:
    """What the server knows, what it was asked, and how it is told to misbehave."""

    client_id: str = "precedent"
    client_secret: str | None = None
    redirect_uri: str = "http://127.0.0.1:8000/callback"
    launches: set[str] = field(default_factory=lambda: {"launch-1"})
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    configuration: dict[str, Any] = field(default_factory=dict)
    authorize_answer: dict[str, str] = field(default_factory=dict)
    token_members: dict[str, Any] = field(default_factory=dict)
    token_status: int = 200
    claims: dict[str, Any] = field(default_factory=dict)
    key: RSAKey = field(default_factory=_key)
    signing_key: RSAKey | None = None
    algorithm: str = "RS256"
    base: str = ""

    @property
    def fhir_base_url(self) -> str:
        """The address that launches name as `iss`."""
        return f"{self.base}/fhir"

    def smart_configuration(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.base,
            "jwks_uri": f"{self.base}/jwks",
            "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token",
            "capabilities": ["launch-ehr", "sso-openid-connect", "permission-v2"],
            "code_challenge_methods_supported": ["S256"],
            "grant_types_supported": ["authorization_code"],
            **self.configuration,
        }

    def authorize(self, asked: dict[str, str]) -> dict[str, str]:
        """Check an authorization request and return the answer's parameters."""
        problems = [
            asked.get("response_type") != "code",
            asked.get("client_id") != self.client_id,
            asked.get("redirect_uri") != self.redirect_uri,
            asked.get("aud") != self.fhir_base_url,
            asked.get("launch") not in self.launches,
            asked.get("code_challenge_method") != "S256",
            len(asked.get("code_challenge", "")) != 43,
            len(asked.get("state", "")) < 22,
            not asked.get("nonce"),
        ]
        if any(problems):
            return {"error": "invalid_request", "state": asked.get("state", "")}
        code = f"code-{len(self.codes) + 1}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], **self.authorize_answer}

    def token(self, form: dict[str, str], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Exchange a code, once."""
        if not self._is_client(form, headers):
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        if (
            asked is None
            or form.get("redirect_uri") != asked["redirect_uri"]
            or challenge.decode().rstrip("=") != asked["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        members = {
            "access_token": "token-of-p4",
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": asked["scope"],
            "patient": "p4",
            "need_patient_banner": True,
            "id_token": self.id_token(asked["nonce"]),
            **self.token_members,
        }
        return self.token_status, {k: v for k, v in members.items() if v is not None}

    def id_token(self, nonce: str) -> str:
        """Sign who is signed in."""
        now = int(time.time())
        claims = {
            "iss": self.base,
            "sub": "okafor",
            "aud": self.client_id,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "fhirUser": f"{self.fhir_base_url}/Practitioner/okafor",
            **self.claims,
        }
        header = {"alg": self.algorithm, "kid": "k1"}
        return jwt.encode(
            header,
            {k: v for k, v in claims.items() if v is not None},
            self.signing_key or self.key,
            algorithms=[self.algorithm],
        )

    def _is_client(self, form: dict[str, str], headers: dict[str, str]) -> bool:
        if self.client_secret is None:
            return form.get("client_id") == self.client_id
        scheme, _, credentials = headers.get("Authorization", "").partition(" ")
        if scheme != "Basic" or "client_id" in form:
            return False
        client_id, _, secret = base64.b64decode(credentials).decode().partition(":")
        return (unquote_plus(client_id), unquote_plus(secret)) == (
            self.client_id,
            self.client_secret,
        )


def _handler(server: SmartServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class calls it so
            address = urlsplit(self.path)
            asked = dict(parse_qsl(address.query))
            server.asked.append(("GET", address.path, asked, dict(self.headers)))
            if address.path == "/fhir/.well-known/smart-configuration":
                self._json(200, server.smart_configuration())
            elif address.path == "/jwks":
                self._json(200, {"keys": [server.key.as_dict(private=False)]})
            elif address.path == "/authorize":
                self.send_response(302)
                answer = urlencode(server.authorize(asked))
                self.send_header("Location", f"{server.redirect_uri}?{answer}")
                self.end_headers()
            else:
                self._json(404, {})

        def do_POST(self) -> None:  # the base class calls it so
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
            server.asked.append(("POST", self.path, form, dict(self.headers)))
            self._json(*server.token(form, dict(self.headers)))

        def _json(self, status: int, members: dict[str, Any]) -> None:
            content = json.dumps(members).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Stay quiet."""

    return Handler


@contextmanager
def running_smart_server(**values: Any) -> Iterator[SmartServer]:
    """Serve on a free local port until the block ends."""
    server = SmartServer(**values)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as httpd:
        server.base = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()
