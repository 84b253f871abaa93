"""Table of roll-outs: which encoder served from when on, and who approved it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from cds.adapters.sql.models import HEX_SHA256, Table


class EncoderRollout(Table):
    """One roll-out or roll-back; `approvers` is a JSON list of names, `report` JSON without PHI."""

    __tablename__ = "encoder_rollout"

    rollout_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(20))
    before_name: Mapped[str] = mapped_column(String(64))
    before_hash: Mapped[str] = mapped_column(HEX_SHA256)
    before_generation: Mapped[str | None] = mapped_column(String(64))
    after_name: Mapped[str] = mapped_column(String(64))
    after_hash: Mapped[str] = mapped_column(HEX_SHA256, index=True)
    after_generation: Mapped[str | None] = mapped_column(String(64))
    approvers: Mapped[str] = mapped_column(Text)
    report: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime]
