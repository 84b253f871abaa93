"""The installation's data keys: made once, wrapped, kept in the database."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from cds.adapters.crypto import KEY_BYTES, FieldCipher, KeyRing
from cds.adapters.sql.models import DataKey
from cds.domain.errors import CdsError, Reason

FIRST_DATA_KEY_ID = "d1"


def open_field_cipher(engine: Engine, ring: KeyRing) -> FieldCipher:
    """Return the cipher over this database's data keys; the first call makes the first key.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the database has no tables yet, or its data keys were wrapped by
        a master key that `ring` lacks.

    """
    try:
        rows = _rows(engine)
        if not rows:
            _add(engine, ring, FIRST_DATA_KEY_ID)
            rows = _rows(engine)
    except (OperationalError, ProgrammingError):
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "The database is not set up or cannot be opened; run `precedent init`.",
        ) from None
    keys = {
        row.data_key_id: ring.unwrap(row.data_key_id, row.master_key_id, row.wrapped)
        for row in rows
    }
    return FieldCipher(keys, rows[-1].data_key_id)


def rewrap_data_keys(engine: Engine, ring: KeyRing) -> int:
    """Wrap every data key with the ring's current master key; returns how many were changed."""
    n_changed = 0
    with Session(engine) as session, session.begin():
        for row in session.scalars(select(DataKey)):
            if row.master_key_id != ring.current_id:
                data_key = ring.unwrap(row.data_key_id, row.master_key_id, row.wrapped)
                row.master_key_id, row.wrapped = ring.wrap(row.data_key_id, data_key)
                n_changed += 1
    return n_changed


def has_data_keys(engine: Engine) -> bool:
    """Tell whether this database already holds encrypted data's keys."""
    try:
        return bool(_rows(engine))
    except (OperationalError, ProgrammingError):
        return False


def _rows(engine: Engine) -> list[DataKey]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(DataKey).order_by(DataKey.created_at)))


def _add(engine: Engine, ring: KeyRing, data_key_id: str) -> None:
    """Store a fresh data key; where another process was faster, its key stands."""
    master_key_id, wrapped = ring.wrap(data_key_id, secrets.token_bytes(KEY_BYTES))
    row = DataKey(
        data_key_id=data_key_id,
        master_key_id=master_key_id,
        wrapped=wrapped,
        created_at=datetime.now(UTC),
    )
    try:
        with Session(engine) as session, session.begin():
            session.add(row)
    except IntegrityError:
        return
