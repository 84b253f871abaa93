"""Which cases changed since a generation was built."""

from __future__ import annotations

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from cds.adapters.live_library import LogHead
from cds.adapters.sql.change_models import LibraryChange, LibraryState
from cds.adapters.sql.models import IndexGeneration


class SqlLibraryLog:
    """The log that the triggers write; implements `cds.adapters.live_library.LibraryLog`.

    Numbers are given in the order of the commits: whoever has read up to a number never finds a
    smaller one later.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def head(self) -> LogHead:
        """Return the number of the newest change, and of the newest that was pruned."""
        query = select(LibraryState.sequence, LibraryState.pruned_to)
        with self._engine.connect() as connection:
            sequence, pruned_to = connection.execute(query).one()
            return LogHead(sequence, pruned_to)

    def changes_after(self, sequence: int) -> tuple[tuple[int, str], ...]:
        """Return (number, case id) of every later change, oldest first."""
        query = (
            select(LibraryChange.sequence, LibraryChange.case_id)
            .where(LibraryChange.sequence > sequence)
            .order_by(LibraryChange.sequence)
        )
        with self._engine.connect() as connection:
            return tuple((number, case_id) for number, case_id in connection.execute(query))

    def base_of(self, generation_id: str) -> int | None:
        """Return up to which change a generation was built; None if the database has not noted it.

        A generation that the database does not know belongs to another state of the library, for
        example to the time after the backup that was restored.
        """
        query = select(IndexGeneration.base_sequence).where(
            IndexGeneration.generation_id == generation_id
        )
        with self._engine.connect() as connection:
            return connection.scalar(query)

    def prune(self, sequence: int) -> None:
        """Forget the changes up to a number: every generation in use holds them."""
        with Session(self._engine) as session, session.begin():
            session.execute(
                update(LibraryState)
                .where(LibraryState.pruned_to < sequence)
                .values(pruned_to=sequence)
            )
            session.execute(delete(LibraryChange).where(LibraryChange.sequence <= sequence))
