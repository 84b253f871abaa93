"""Tables of what changed in the library since an index generation was built."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from cds.adapters.sql.models import Table


class LibraryState(Table):
    """The one row that counts the library's changes; triggers move it, nobody else.

    `pruned_to` is the newest change that the log no longer holds.
    """

    __tablename__ = "library_state"
    __table_args__ = (CheckConstraint("state_id = 1", name="one_row"),)

    state_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger)
    pruned_to: Mapped[int] = mapped_column(BigInteger)


class LibraryChange(Table):
    """That something of a case changed: vectors added or removed, facts replaced, or it is gone.

    `case_id` is the opaque id alone: the row says nothing about the patient, and outlives the case
    so that readers learn of its erasure.
    """

    __tablename__ = "library_change"

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    case_id: Mapped[str] = mapped_column(String(40))
