"""Table of the key pairs with which we sign in at the EHRs' token servers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cds.adapters.sql.models import EHR_ID, Table


class BackendKey(Table):
    """One key pair; `private_jwk` is encrypted JSON, `public_jwk` is what the EHR may fetch.

    For each EHR and algorithm there is at most one key in each state, so that two simultaneous
    rotations cannot leave two active keys.
    """

    __tablename__ = "backend_key"
    __table_args__ = (UniqueConstraint("ehr_id", "algorithm", "state"),)

    ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10))
    public_jwk: Mapped[str] = mapped_column(Text)
    private_jwk: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
