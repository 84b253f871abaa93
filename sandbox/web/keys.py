"""The sandbox's signing keys; made at start and never written down."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import ECKey, KeySet, RSAKey

_RSA_BITS = 2048


def _rsa_key() -> RSAKey:
    return RSAKey.generate_key(
        _RSA_BITS, {"kid": f"login-{secrets.token_hex(4)}", "use": "sig", "alg": "RS256"}
    )


def _ec_key() -> ECKey:
    return ECKey.generate_key(
        "P-384", {"kid": f"hooks-{secrets.token_hex(4)}", "use": "sig", "alg": "ES384"}
    )


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """One key for id_tokens (RS256) and one for hook calls (ES384)."""

    id_token_key: RSAKey = field(default_factory=_rsa_key, repr=False)
    hook_key: ECKey = field(default_factory=_ec_key, repr=False)

    def id_token_jwks(self) -> dict[str, Any]:
        """Return the public key set that checks id_tokens."""
        return dict(KeySet([self.id_token_key]).as_dict(private=False))

    def hook_jwks(self) -> dict[str, Any]:
        """Return the public key set that checks hook calls."""
        return dict(KeySet([self.hook_key]).as_dict(private=False))
