"""Our key pairs at each EHR's token server: made here, encrypted at rest, rotated with overlap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.backend_key_models import BackendKey
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import SigningAlgorithm
from cds.domain.secrecy import SecretText
from cds.ports import Clock

RSA_BITS = 3072  # Source: NIST SP 800-57 part 1 rev. 5, table 2: 128 bits of security
PUBLISHED_AHEAD = timedelta(minutes=10)  # twice the time for which our key set may be cached

ROTATED_MEANWHILE = (
    "The keys could not be rotated; another process may be rotating them. Try again."
)


class KeyState(StrEnum):
    """Where a key is in its life; all three are published."""

    NEXT = "next"
    ACTIVE = "active"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """One key as anybody may know it."""

    key_id: str
    algorithm: SigningAlgorithm
    state: KeyState
    created_at: datetime


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """The key that signs now, with its private part as JWK text."""

    key_id: str
    algorithm: SigningAlgorithm
    private_jwk: SecretText

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id}, {self.algorithm.value}, ***)"


class SqlBackendKeys:
    """The key pairs of every EHR.

    There is always a `next` key in the published set: an EHR that fetches our key set knows it long
    before it signs, so that a rotation never meets a token server that has not seen the new key.

    Parameters
    ----------
    engine, cipher, clock
        Database, field encryption, time.

    """

    def __init__(self, engine: Engine, cipher: FieldCipher, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._private = SealedJson(dict[str, Any], cipher, "backend_key.private_jwk")

    def ensure(self, ehr_id: str, algorithm: SigningAlgorithm) -> None:
        """Make the active and the next key, unless they are there already."""
        for state in (KeyState.ACTIVE, KeyState.NEXT):
            if self._row(ehr_id, algorithm, state) is not None:
                continue
            try:
                with Session(self._engine) as session, session.begin():
                    session.add(self._fresh(ehr_id, algorithm, state))
            except IntegrityError:
                continue  # another process was faster; its key stands

    def signing_key(self, ehr_id: str, algorithm: SigningAlgorithm) -> SigningKey:
        """Return the active key.

        Raises
        ------
        CdsError
            INVALID_CONFIGURATION if there is none yet.

        """
        row = self._row(ehr_id, algorithm, KeyState.ACTIVE)
        if row is None:
            raise CdsError(
                Reason.INVALID_CONFIGURATION,
                f"EHR {ehr_id} has no {algorithm.value} key to sign in with; "
                f"run `precedent ehr keys {ehr_id}`.",
            )
        private = self._private.unseal(row.private_jwk, _row_id(row))
        return SigningKey(row.key_id, algorithm, SecretText(json.dumps(private)))

    def key_set(self, ehr_id: str) -> Mapping[str, Any]:
        """Return the JSON Web Key Set that the EHR may fetch: public parts only, active first."""
        return {"keys": [json.loads(row.public_jwk) for row in self._rows(ehr_id)]}

    def published(self, ehr_id: str) -> tuple[PublishedKey, ...]:
        """Return every key of an EHR without its material, active first."""
        return tuple(
            PublishedKey(
                row.key_id, SigningAlgorithm(row.algorithm), KeyState(row.state), row.created_at
            )
            for row in self._rows(ehr_id)
        )

    def rotate(self, ehr_id: str, algorithm: SigningAlgorithm, *, force: bool = False) -> None:
        """Sign with the next key from now on, keep the old one published, publish a new next one.

        The key before the old one leaves the set.

        Parameters
        ----------
        ehr_id, algorithm
            Whose keys.
        force
            Also where the next key was published so lately that the EHR may not know it.

        Raises
        ------
        CdsError
            INVALID_REQUEST without `force` if the next key is younger than `PUBLISHED_AHEAD`, or
            if another rotation was faster.

        """
        self.ensure(ehr_id, algorithm)
        try:
            with Session(self._engine) as session, session.begin():
                rows = {row.state: row for row in session.scalars(_query(ehr_id, algorithm))}
                session.expunge_all()
                if not {KeyState.ACTIVE, KeyState.NEXT} <= rows.keys():
                    raise CdsError(Reason.INVALID_REQUEST, ROTATED_MEANWHILE)
                following = rows[KeyState.NEXT]
                if not force and self._clock.now() - following.created_at < PUBLISHED_AHEAD:
                    raise CdsError(
                        Reason.INVALID_REQUEST,
                        "The next key was published less than "
                        f"{PUBLISHED_AHEAD // timedelta(minutes=1)} minutes ago, and the EHR may "
                        "not have fetched it yet; try again later, or force it.",
                    )
                if KeyState.PREVIOUS in rows:
                    _delete(session, rows[KeyState.PREVIOUS])
                _move(session, rows[KeyState.ACTIVE], KeyState.PREVIOUS)
                _move(session, following, KeyState.ACTIVE)
                session.add(self._fresh(ehr_id, algorithm, KeyState.NEXT))
        except (IntegrityError, OperationalError):
            raise CdsError(Reason.INVALID_REQUEST, ROTATED_MEANWHILE) from None

    def withdraw_previous(self, ehr_id: str) -> int:
        """Publish the keys before the active ones no longer; returns how many those were."""
        query = select(BackendKey).where(
            BackendKey.ehr_id == ehr_id, BackendKey.state == KeyState.PREVIOUS
        )
        with Session(self._engine) as session, session.begin():
            rows = session.scalars(query).all()
            for row in rows:
                session.delete(row)
            return len(rows)

    def remove(self, ehr_id: str) -> None:
        """Forget every key of an EHR; absent is fine."""
        with Session(self._engine) as session, session.begin():
            session.execute(delete(BackendKey).where(BackendKey.ehr_id == ehr_id))

    def _fresh(self, ehr_id: str, algorithm: SigningAlgorithm, state: KeyState) -> BackendKey:
        key = _key_pair(algorithm)
        key_id = key.thumbprint()
        described = {"kid": key_id, "use": "sig", "alg": algorithm.value}
        row = BackendKey(
            ehr_id=ehr_id,
            key_id=key_id,
            algorithm=algorithm.value,
            state=state,
            public_jwk=json.dumps({**key.as_dict(private=False), **described}),
            created_at=self._clock.now(),
        )
        row.private_jwk = self._private.seal(
            {**key.as_dict(private=True), **described}, _row_id(row)
        )
        return row

    def _row(self, ehr_id: str, algorithm: SigningAlgorithm, state: KeyState) -> BackendKey | None:
        query = _query(ehr_id, algorithm).where(BackendKey.state == state)
        with Session(self._engine, expire_on_commit=False) as session:
            return session.scalars(query).first()

    def _rows(self, ehr_id: str) -> list[BackendKey]:
        query = select(BackendKey).where(BackendKey.ehr_id == ehr_id)
        query = query.order_by(BackendKey.state, BackendKey.created_at, BackendKey.key_id)
        with Session(self._engine, expire_on_commit=False) as session:
            return list(session.scalars(query))


def _key_pair(algorithm: SigningAlgorithm) -> ECKey | RSAKey:
    if algorithm is SigningAlgorithm.ES384:
        return ECKey.generate_key("P-384")
    return RSAKey.generate_key(RSA_BITS)


def _move(session: Session, row: BackendKey, state: KeyState) -> None:
    """Change a key's state, provided that it still is in the state in which it was read."""
    _expect_one(session.execute(update(BackendKey).where(*_as_read(row)).values(state=state)))


def _delete(session: Session, row: BackendKey) -> None:
    _expect_one(session.execute(delete(BackendKey).where(*_as_read(row))))


def _as_read(row: BackendKey) -> tuple[Any, ...]:
    return (
        BackendKey.ehr_id == row.ehr_id,
        BackendKey.key_id == row.key_id,
        BackendKey.state == row.state,
    )


def _expect_one(result: Any) -> None:  # noqa: ANN401  # SQLAlchemy's result of a change
    if result.rowcount != 1:
        raise CdsError(Reason.INVALID_REQUEST, ROTATED_MEANWHILE)


def _query(ehr_id: str, algorithm: SigningAlgorithm) -> Any:  # noqa: ANN401  # an SQL query
    return select(BackendKey).where(
        BackendKey.ehr_id == ehr_id, BackendKey.algorithm == algorithm.value
    )


def _row_id(row: BackendKey) -> str:
    return f"{row.ehr_id}:{row.key_id}"
