"""What has happened so far in one run of the import."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from cds.domain.case import LibraryCase, NewCase
from cds.domain.facts import SetAside
from cds.library.catalogue import Float32Array
from cds.library.deidentification_report import DeidentificationReport
from cds.library.import_summary import ImportSummary
from cds.library.picture_preparation import PreparedPicture
from cds.library.source_case import SourceCase


@dataclass(frozen=True, slots=True, repr=False)
class ReadyCase:
    """A case whose pictures are in the blob store; holds no pixels, since some of them wait.

    Attributes
    ----------
    row_name, set_aside
        Of the row that it was made from.
    vectors
        By picture id, as far as there are any yet.

    """

    new: NewCase
    row_name: str
    set_aside: tuple[SetAside, ...]
    vectors: Mapping[str, Float32Array]

    @classmethod
    def of(cls, case: LibraryCase, row: SourceCase, prepared: Sequence[PreparedPicture]) -> Self:
        """Return the case with what is kept of its row and pictures."""
        new = NewCase(case, tuple(p.content_sha256 for p in prepared), row.notes)
        vectors = {p.picture.picture_id: p.vector for p in prepared if p.vector is not None}
        return cls(new, row.row_name, row.set_aside, vectors)

    @property
    def study(self) -> tuple[str, str]:
        """Return collection and study key."""
        return self.new.case.collection, self.new.case.study_key

    def __repr__(self) -> str:
        return "ReadyCase(<redacted>)"


@dataclass(slots=True)
class RunTally:
    """Counts of one run, the files that it has seen, cases and vectors that are not yet kept."""

    run_id: str
    collection: str
    deidentification: DeidentificationReport
    count: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)
    patients: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    vectors: dict[str, Float32Array] = field(default_factory=dict)
    waiting: list[ReadyCase] = field(default_factory=list)
    waiting_since_s: float = 0.0

    @property
    def n_quarantined(self) -> int:
        """Return how many files or rows were set apart."""
        return self.quarantined.total()

    def has_waiting(self, study: tuple[str, str]) -> bool:
        """Tell whether a case of the same study waits to be added."""
        return any(one.study == study for one in self.waiting)

    def wait_for_others(self, ready: ReadyCase) -> None:
        """Let a case wait, so that it is added together with others."""
        if not self.waiting:
            self.waiting_since_s = time.monotonic()
        self.waiting.append(ready)

    def note_added(self, ready: ReadyCase) -> None:
        """Count a case that was added, and keep its vectors for the next batch."""
        self.count["cases"] += 1
        self.count["pictures"] += len(ready.new.case.pictures)
        self.patients.add(ready.new.case.patient_key)
        self.set_aside.update(f"{one.display}: {one.reason}" for one in ready.set_aside)
        self.vectors.update(ready.vectors)

    def counts_for_record(self) -> dict[str, int]:
        """Return every count under one plain name."""
        return {
            **self.count,
            "quarantined": self.n_quarantined,
            **self.deidentification.flat_counts(),
        }

    def summary(
        self, source_kind: str, *, n_cases_in_library: int, n_patients_in_library: int
    ) -> ImportSummary:
        """Return what the run did."""
        return ImportSummary(
            run_id=self.run_id,
            source_kind=source_kind,
            n_rows=self.count["rows"],
            n_cases=self.count["cases"],
            n_patients=len(self.patients),
            n_pictures=self.count["pictures"],
            n_already=self.count["already"],
            n_duplicates=self.count["duplicates"],
            quarantined=dict(self.quarantined.most_common()),
            set_aside=dict(self.set_aside.most_common()),
            deidentification=self.deidentification.to_json(),
            n_cases_in_library=n_cases_in_library,
            n_patients_in_library=n_patients_in_library,
            n_updated=self.count["updated"],
        )
