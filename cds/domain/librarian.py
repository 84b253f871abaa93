"""The act of a librarian: who brings which studies into a library, and with what right."""

from __future__ import annotations

from dataclasses import dataclass

from cds.domain.archive import StudySearch


@dataclass(frozen=True, slots=True, repr=False)
class LibrarianAct:
    """Kept with the run, encrypted; a library is filled by a person, never by a query.

    Attributes
    ----------
    librarian
        Name of the person who is answerable.
    legal_basis
        Why the hospital may keep these cases, in its own words.
    search
        What was asked for.
    n_opt_outs
        Lines of the opt-out list that was given.

    """

    librarian: str
    legal_basis: str
    search: StudySearch
    n_opt_outs: int = 0

    def __post_init__(self) -> None:
        if not self.librarian.strip() or not self.legal_basis.strip():
            raise ValueError("an import needs a librarian and a legal basis")

    def __repr__(self) -> str:
        return "LibrarianAct(<redacted>)"
