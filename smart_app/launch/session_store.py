"""What the app needs to remember between requests, server-side: launches under way and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

STATE_LIFETIME = timedelta(minutes=10)  # long enough to sign in at the EHR


class StoredRecord(Protocol):
    """What was kept for one opaque id."""

    @property
    def ehr_id(self) -> str:
        """Return the EHR that it belongs to."""
        ...

    @property
    def payload(self) -> Mapping[str, Any]:
        """Return JSON-compatible members."""
        ...


class SessionStore(Protocol):
    """Keeps sessions and launch states, encrypted, under ids that only the browser holds.

    The store keeps a hash of each id, never the id itself. Implemented on SQL by
    `cds.adapters.smart_sessions.SqlSessionStore`.
    """

    def create(self, ehr_id: str, payload: Mapping[str, Any], *, lifetime: timedelta) -> str:
        """Keep a session and return its new opaque id (256 random bits).

        It ends when it was not used for 30 minutes (SAFETY R-HIP-5), and in any case after
        `lifetime`.
        """
        ...

    def read(self, session_id: str) -> StoredRecord | None:
        """Return a session that has not ended and count this as its use, or None."""
        ...

    def replace(self, session_id: str, payload: Mapping[str, Any]) -> None:
        """Replace what a session holds; one that has ended stays ended."""
        ...

    def revoke(self, session_id: str) -> None:
        """End a session; absent is fine."""
        ...

    def put_state(
        self, state: str, ehr_id: str, payload: Mapping[str, Any], *, lifetime: timedelta
    ) -> None:
        """Keep what belongs to a launch under way."""
        ...

    def take_state(self, state: str) -> StoredRecord | None:
        """Return what was kept for a state, once; None if unknown, used or too old."""
        ...
