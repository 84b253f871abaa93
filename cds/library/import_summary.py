"""What one run of the import tells: while it goes on, and once it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


class Progress(Protocol):
    """Told after each row, so that a command line can show it."""

    def advance(self, *, n_done: int, n_cases: int, n_quarantined: int) -> None:
        """Show how far the run is."""
        ...


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that is in the catalogue already."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What one run did.

    Attributes
    ----------
    n_rows
        Studies that the source named.
    n_cases, n_pictures
        Added by this run.
    n_already, n_duplicates
        Pictures that were in the library before, and pictures whose very bytes another row of this
        run had: neither is doubled.
    quarantined
        Reason -> files or rows set apart in this run.
    set_aside
        ``field: reason`` -> values that were read but not used.
    deidentification
        What was removed, replaced and set apart (`DeidentificationReport.to_json`).
    n_cases_in_library, n_patients_in_library
        Afterwards.
    n_updated
        Cases of earlier runs that later knowledge has changed.

    """

    run_id: str
    source_kind: str
    n_rows: int = 0
    n_cases: int = 0
    n_patients: int = 0
    n_pictures: int = 0
    n_already: int = 0
    n_duplicates: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    set_aside: Mapping[str, int] = field(default_factory=dict)
    deidentification: Mapping[str, Any] = field(default_factory=dict)
    n_cases_in_library: int = 0
    n_patients_in_library: int = 0
    n_updated: int = 0

    @property
    def n_quarantined(self) -> int:
        """Return how many files or rows were set apart."""
        return sum(self.quarantined.values())

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return {**asdict(self), "n_quarantined": self.n_quarantined}
