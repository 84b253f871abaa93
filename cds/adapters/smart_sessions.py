"""Sessions and launches under way in the database, encrypted, under hashes of their ids."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, delete, or_, select, update
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.door_models import LaunchState, SmartSession
from cds.adapters.sql.sealed_json import SealedJson
from cds.ports import Clock

SESSION_ID_BYTES = 32  # 256 random bits
IDLE_TIMEOUT = timedelta(minutes=30)  # SAFETY R-HIP-5: session time-out
TOUCH_INTERVAL = timedelta(seconds=30)  # a page with 31 pictures is one use, not 31 writes


@dataclass(frozen=True, slots=True, repr=False)
class StoredRecord:
    """What was kept for one opaque id."""

    ehr_id: str
    payload: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"StoredRecord({self.ehr_id}, <redacted>)"


class SqlSessionStore:
    """Implements `smart_app.launch.session_store.SessionStore`.

    Parameters
    ----------
    engine, cipher, clock
        Database, field encryption, time.
    idle
        A session that was not used for this long has ended.

    """

    def __init__(
        self, engine: Engine, cipher: FieldCipher, clock: Clock, *, idle: timedelta = IDLE_TIMEOUT
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._idle = idle
        self._sessions = SealedJson(dict[str, Any], cipher, "smart_session.payload")
        self._states = SealedJson(dict[str, Any], cipher, "launch_state.payload")

    def create(self, ehr_id: str, payload: Mapping[str, Any], *, lifetime: timedelta) -> str:
        """Keep a session and return its new opaque id; sessions that have ended are removed."""
        session_id = secrets.token_urlsafe(SESSION_ID_BYTES)
        now = self._clock.now()
        session_hash = _hash(session_id)
        with Session(self._engine) as session, session.begin():
            session.execute(delete(SmartSession).where(self._has_ended(now)))
            session.add(
                SmartSession(
                    session_hash=session_hash,
                    ehr_id=ehr_id,
                    payload=self._sessions.seal(dict(payload), session_hash),
                    created_at=now,
                    expires_at=now + lifetime,
                    last_used_at=now,
                )
            )
        return session_id

    def read(self, session_id: str) -> StoredRecord | None:
        """Return a session that has not ended and count this as its use, or None."""
        session_hash, now = _hash(session_id), self._clock.now()
        with Session(self._engine) as session, session.begin():
            row = session.scalar(
                select(SmartSession).where(
                    SmartSession.session_hash == session_hash, ~self._has_ended(now)
                )
            )
            if row is None:
                return None
            if now - row.last_used_at >= TOUCH_INTERVAL:
                row.last_used_at = now
            return StoredRecord(row.ehr_id, self._sessions.unseal(row.payload, session_hash))

    def replace(self, session_id: str, payload: Mapping[str, Any]) -> None:
        """Replace what a session holds; one that has ended stays ended."""
        session_hash = _hash(session_id)
        sealed = self._sessions.seal(dict(payload), session_hash)
        with Session(self._engine) as session, session.begin():
            session.execute(
                update(SmartSession)
                .where(
                    SmartSession.session_hash == session_hash,
                    ~self._has_ended(self._clock.now()),
                )
                .values(payload=sealed)
            )

    def revoke(self, session_id: str) -> None:
        """End a session; absent is fine."""
        with Session(self._engine) as session, session.begin():
            session.execute(
                delete(SmartSession).where(SmartSession.session_hash == _hash(session_id))
            )

    def put_state(
        self, state: str, ehr_id: str, payload: Mapping[str, Any], *, lifetime: timedelta
    ) -> None:
        """Keep what belongs to a launch under way; launches that have expired are removed."""
        state_hash, now = _hash(state), self._clock.now()
        with Session(self._engine) as session, session.begin():
            session.execute(delete(LaunchState).where(LaunchState.expires_at <= now))
            session.add(
                LaunchState(
                    state_hash=state_hash,
                    ehr_id=ehr_id,
                    payload=self._states.seal(dict(payload), state_hash),
                    expires_at=now + lifetime,
                )
            )

    def take_state(self, state: str) -> StoredRecord | None:
        """Return what was kept for a state, once; None if unknown, used or too old.

        Of two callers at the same time only the one whose delete removed the row gets it.
        """
        state_hash = _hash(state)
        with Session(self._engine) as session, session.begin():
            row = session.scalar(select(LaunchState).where(LaunchState.state_hash == state_hash))
            if row is None:
                return None
            ehr_id, sealed, expires_at = row.ehr_id, row.payload, row.expires_at
            session.expunge(row)
            taken = session.execute(
                delete(LaunchState)
                .where(LaunchState.state_hash == state_hash)
                .returning(LaunchState.state_hash)
            ).all()
        if not taken or expires_at <= self._clock.now():
            return None
        return StoredRecord(ehr_id, self._states.unseal(sealed, state_hash))

    def _has_ended(self, now: datetime) -> Any:  # noqa: ANN401  # an SQL expression
        return or_(SmartSession.expires_at <= now, SmartSession.last_used_at <= now - self._idle)


def _hash(secret: str) -> str:
    """Return SHA-256 (hex) of an unguessable id; the id itself is never stored."""
    return hashlib.sha256(secret.encode()).hexdigest()
