"""Client assertions of a backend service, valid by default; one override per test."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import orjson
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey


def a_client_assertion(
    key: ECKey | RSAKey,
    *,
    client_id: str,
    audience: str,
    header: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
) -> str:
    """A JWT as SMART Backend Services 2.2 asks for; None as a value leaves a member out."""
    now = int(time.time())
    alg = "ES384" if isinstance(key, ECKey) else "RS384"
    all_headers = {"alg": alg, "typ": "JWT", "kid": key.kid, **(header or {})}
    all_claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "exp": now + 240,
        "jti": str(uuid4()),
        **(claims or {}),
    }
    kept_headers = {name: value for name, value in all_headers.items() if value is not None}
    kept_claims = {name: value for name, value in all_claims.items() if value is not None}
    return jws.serialize_compact(
        kept_headers, orjson.dumps(kept_claims), key, algorithms=[kept_headers["alg"]]
    )
