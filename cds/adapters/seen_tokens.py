"""Tokens that were accepted once, in the database, until they expire."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

from sqlalchemy import Engine, delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.sql.door_models import SeenJti
from cds.ports import Clock


class SqlSeenTokens:
    """Accepts each `jti` of an issuer once; implements `SeenTokens` of the machine doors.

    The primary key decides, so that of two simultaneous calls, in whichever process, one passes.
    Of the `jti` only a hash is kept, and only until the token could no longer be used.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def accept_once(self, ehr_id: str, issuer: str, jti: str, *, expires_at: datetime) -> bool:
        """Remember the token and return True, or return False if it was accepted before."""
        row = SeenJti(
            issuer=sha256(f"{ehr_id}|{issuer}".encode()).hexdigest(),
            jti_hash=sha256(jti.encode()).hexdigest(),
            ehr_id=ehr_id,
            expires_at=expires_at,
        )
        try:
            with Session(self._engine) as session, session.begin():
                session.execute(delete(SeenJti).where(SeenJti.expires_at < self._clock.now()))
                session.add(row)
        except IntegrityError:
            return False
        return True
