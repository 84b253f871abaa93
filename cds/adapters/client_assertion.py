"""The signed statement with which we authenticate at a token server (``private_key_jwt``)."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from cds.adapters.backend_keys import SigningKey
from cds.domain.registration import SigningAlgorithm
from cds.domain.secrecy import SecretText

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# SMART allows 300 s ahead. Half of it leaves room on both sides: a server whose clock is up to
# 150 s ahead still finds it unexpired, one that is 150 s behind still finds it within 300 s.
ASSERTION_LIFETIME = timedelta(seconds=150)
_JTI_BYTES = 32


@dataclass(frozen=True, slots=True)
class AssertionFacts:
    """Who says it to whom: our client id, and the token endpoint exactly as it is posted to."""

    client_id: str
    token_endpoint: str


def client_assertion(facts: AssertionFacts, key: SigningKey, *, now: datetime) -> SecretText:
    """Sign a fresh assertion; every call has its own `jti`.

    `iat` and `nbf` are left out: SMART does not ask for them, and a server whose clock is behind
    would refuse them.

    References
    ----------
    SMART App Launch 2.2, "Client Authentication: Asymmetric"; RFC 7523.

    """
    members = json.loads(key.private_jwk.reveal())
    pair: ECKey | RSAKey
    if key.algorithm is SigningAlgorithm.ES384:
        pair = ECKey.import_key(members)
    else:
        pair = RSAKey.import_key(members)
    claims = {
        "iss": facts.client_id,
        "sub": facts.client_id,
        "aud": facts.token_endpoint,
        "exp": int((now + ASSERTION_LIFETIME).timestamp()),
        "jti": secrets.token_urlsafe(_JTI_BYTES),
    }
    header = {"alg": key.algorithm.value, "kid": key.key_id, "typ": "JWT"}
    return SecretText(jwt.encode(header, claims, pair, algorithms=[key.algorithm.value]))
