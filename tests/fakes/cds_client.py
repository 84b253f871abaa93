"""A CDS client with its own key: signs the JWT of CDS Hooks as an EHR does."""

from datetime import timedelta
from functools import cache
from typing import Any
from uuid import uuid4

import orjson
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from cds.ports import Clock

ISSUER = "https://ehr.example.invalid"
JKU = "https://ehr.example.invalid/jwks.json"


@cache
def ec_key(kid: str = "ec-1", curve: str = "P-384") -> ECKey:
    return ECKey.generate_key(curve, {"kid": kid, "use": "sig"})


@cache
def rsa_key(kid: str = "rsa-1") -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})


class CdsClientDouble:
    """Signs calls; each member of header and claims can be overridden, None leaves it out."""

    def __init__(self, clock: Clock, *, key: ECKey | RSAKey | None = None) -> None:
        self._clock = clock
        self.key = key or ec_key()

    def key_set(self) -> dict[str, Any]:
        return {"keys": [self.key.as_dict(private=False)]}

    def token(
        self,
        audience: str | list[str],
        *,
        header: dict[str, Any] | None = None,
        claims: dict[str, Any] | None = None,
        signed_with: ECKey | RSAKey | None = None,
    ) -> str:
        now = self._clock.now()
        all_claims = {
            "iss": ISSUER,
            "aud": audience,
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(minutes=5)).timestamp()),
            "jti": str(uuid4()),
            **(claims or {}),
        }
        alg = "ES384" if isinstance(self.key, ECKey) else "RS384"
        all_headers = {
            "alg": alg,
            "typ": "JWT",
            "kid": self.key.kid,
            "jku": JKU,
            **(header or {}),
        }
        kept_headers = {k: v for k, v in all_headers.items() if v is not None}
        kept_claims = {k: v for k, v in all_claims.items() if v is not None}
        return jws.serialize_compact(
            kept_headers,
            orjson.dumps(kept_claims),
            signed_with or self.key,
            algorithms=[kept_headers["alg"]],
        )
