"""What one import of the archives did, once, for a person and for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cds.library.import_summary import ImportSummary


@dataclass(frozen=True, slots=True)
class ArchiveSummary:
    """The studies of a run, and what became of them.

    Attributes
    ----------
    library
        Cases and pictures.
    n_listed
        Studies that the PACS listed.
    n_imported
        Studies that this run brought in, or brought further pictures of.
    n_asked_again
        Studies of earlier runs whose record was read again; `library.n_updated` of them changed.
    n_incomplete, n_not_recorded, n_not_reported, n_failed_for_now
        Left for a later run: still arriving, unknown to the record, a peer at fault.
    n_quarantined_studies
        Given up: identity, no picture, no date; the reasons say which.
    n_kept_out
        Opted out, or withheld by the record.
    n_cases_of_opted_out
        Cases in the library of patients who are kept out now; to be erased.
    n_in_doubt
        Cases in the library whose study PACS and record now ascribe to different patients: moved or
        merged since they came in; to be looked at, and erased or brought in anew.
    reasons
        Sentence -> studies.
    gaps
        What the record could not be asked -> studies.
    stopped
        Why the run ended early; None if it came to its end.

    """

    library: ImportSummary
    n_listed: int = 0
    n_imported: int = 0
    n_asked_again: int = 0
    n_incomplete: int = 0
    n_not_recorded: int = 0
    n_not_reported: int = 0
    n_failed_for_now: int = 0
    n_quarantined_studies: int = 0
    n_kept_out: int = 0
    n_given_up_before: int = 0
    n_with_others: int = 0
    n_cases_of_opted_out: int = 0
    n_in_doubt: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    gaps: Mapping[str, int] = field(default_factory=dict)
    stopped: str | None = None

    @classmethod
    def of(
        cls,
        library: ImportSummary,
        *,
        counts: Mapping[str, int],
        reasons: Mapping[str, int],
        gaps: Mapping[str, int],
        stopped: str | None,
        n_cases_of_opted_out: int,
    ) -> ArchiveSummary:
        """Return the summary of what was counted."""
        return cls(
            library=library,
            n_listed=counts.get("listed", 0),
            n_imported=counts.get("imported", 0),
            n_asked_again=counts.get("asked_again", 0),
            n_incomplete=counts.get("incomplete", 0),
            n_not_recorded=counts.get("not_recorded", 0),
            n_not_reported=counts.get("not_reported", 0),
            n_failed_for_now=counts.get("failed_for_now", 0),
            n_quarantined_studies=counts.get("quarantined_studies", 0)
            + counts.get("without_picture", 0),
            n_kept_out=counts.get("kept_out", 0),
            n_given_up_before=counts.get("given_up_before", 0),
            n_with_others=counts.get("with_another_importer", 0) + counts.get("not_due", 0),
            n_cases_of_opted_out=n_cases_of_opted_out,
            n_in_doubt=counts.get("in_doubt", 0),
            reasons=_sorted(reasons),
            gaps=_sorted(gaps),
            stopped=stopped,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return {**asdict(self), "library": self.library.to_json()}


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
