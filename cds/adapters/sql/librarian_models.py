"""Tables of what librarians do: who imported with what right, who is kept out, what was updated."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from cds.adapters.sql.models import EHR_ID, HEX_SHA256, Table


class LibrarianActRow(Table):
    """Who ran an import and with what right; `act` is encrypted JSON of a `LibrarianAct`."""

    __tablename__ = "librarian_act"

    run_id: Mapped[str] = mapped_column(
        ForeignKey("import_run.run_id", ondelete="CASCADE"), primary_key=True
    )
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    act: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class OptOutRow(Table):
    """A patient who is kept out of an EHR's library, as a keyed hash only.

    `source` is ``list`` (a librarian's list: stays) or ``record`` (a consent or a security label:
    goes when the record no longer says so).
    """

    __tablename__ = "opt_out"

    owner_ehr_id: Mapped[str] = mapped_column(EHR_ID, primary_key=True)
    patient_key: Mapped[str] = mapped_column(HEX_SHA256, primary_key=True, index=True)
    source: Mapped[str] = mapped_column(String(20), primary_key=True)
    created_at: Mapped[datetime]


class CaseUpdateRow(Table):
    """That later knowledge changed a case: an index that is older is due."""

    __tablename__ = "case_update"
    __table_args__ = (Index("ix_case_update_case_id", "case_id"),)

    update_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("library_case.case_id", ondelete="CASCADE"))
    owner_ehr_id: Mapped[str | None] = mapped_column(EHR_ID)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("import_run.run_id", ondelete="SET NULL"))
    updated_at: Mapped[datetime] = mapped_column(index=True)
