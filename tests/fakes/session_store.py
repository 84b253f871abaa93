"""A session store in memory; the contract suite holds it against the SQL one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cds.ports import Clock


@dataclass
class Kept:
    ehr_id: str
    payload: dict[str, Any]
    expires_at: datetime
    used_at: datetime


class MemorySessionStore:
    """Implements `smart_app.launch.session_store.SessionStore`."""

    def __init__(self, clock: Clock, *, idle: timedelta = timedelta(minutes=30)) -> None:
        self._clock = clock
        self._idle = idle
        self.sessions: dict[str, Kept] = {}
        self.states: dict[str, Kept] = {}

    def create(self, ehr_id: str, payload: Mapping[str, Any], *, lifetime: timedelta) -> str:
        session_id = secrets.token_urlsafe(32)
        self.sessions[session_id] = self._kept(ehr_id, payload, lifetime)
        return session_id

    def read(self, session_id: str) -> Kept | None:
        kept = self.sessions.get(session_id)
        now = self._clock.now()
        if kept is None or now >= kept.expires_at or now - kept.used_at >= self._idle:
            return None
        kept.used_at = now
        return kept

    def replace(self, session_id: str, payload: Mapping[str, Any]) -> None:
        kept = self.read(session_id)
        if kept is not None:
            kept.payload = _copied(payload)

    def revoke(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)

    def put_state(
        self, state: str, ehr_id: str, payload: Mapping[str, Any], *, lifetime: timedelta
    ) -> None:
        self.states[state] = self._kept(ehr_id, payload, lifetime)

    def take_state(self, state: str) -> Kept | None:
        kept = self.states.pop(state, None)
        return kept if kept and kept.expires_at > self._clock.now() else None

    def _kept(self, ehr_id: str, payload: Mapping[str, Any], lifetime: timedelta) -> Kept:
        now = self._clock.now()
        return Kept(ehr_id, _copied(payload), now + lifetime, now)


def _copied(payload: Mapping[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(payload))
    return copied
