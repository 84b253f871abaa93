"""Keyed hashes of who and which study, so that equality can be seen and nothing else."""

from __future__ import annotations

import hashlib
import hmac


class HmacIdentityKeys:
    """HMAC-SHA-256 (hex) under a subkey of the installation's master key.

    Parameters
    ----------
    subkey
        ``KeyRing.subkey("identity")``.

    Notes
    -----
    Each part of the message carries its length, so that no two pairs of namespace and value run
    together. Implements `cds.ports.IdentityKeys`.

    """

    def __init__(self, subkey: bytes) -> None:
        self._subkey = subkey

    def patient_key(self, namespace: str, value: str) -> str:
        """Return the key of a patient identifier within its namespace; outer blanks are cut."""
        return self._digest("patient", namespace.strip(), value.strip())

    def study_key(self, study_instance_uid: str) -> str:
        """Return the key of an original Study Instance UID."""
        return self._digest("study", study_instance_uid.strip())

    def _digest(self, *parts: str) -> str:
        message = b"".join(
            len(encoded).to_bytes(4, "big") + encoded for encoded in (p.encode() for p in parts)
        )
        return hmac.new(self._subkey, message, hashlib.sha256).hexdigest()
