"""Single use of tokens: a `jti` is accepted once, until its token expires."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class SeenTokens(Protocol):
    """The memory of accepted `jti` values."""

    def accept_once(self, ehr_id: str, issuer: str, jti: str, *, expires_at: datetime) -> bool:
        """Remember the token and return True, or return False if it was accepted before.

        Both in one step: of two simultaneous calls exactly one returns True.
        """
        ...
