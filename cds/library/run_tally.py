"""What has happened so far in one run of the import."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cds.library.catalogue import Float32Array
from cds.library.deidentification_report import DeidentificationReport
from cds.library.import_summary import ImportSummary


@dataclass(slots=True)
class RunTally:
    """Counts of one run, the files that it has seen, and vectors that are not yet kept."""

    run_id: str
    collection: str
    deidentification: DeidentificationReport
    count: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)
    patients: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    vectors: dict[str, Float32Array] = field(default_factory=dict)

    @property
    def n_quarantined(self) -> int:
        """Return how many files or rows were set apart."""
        return self.quarantined.total()

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
