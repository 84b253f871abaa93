"""What the machine doors need from the engine about arrivals, kept answers and jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cds.domain.job import QueueCounts
from cds.domain.report import CaseReport


class ArrivalNotices(Protocol):
    """Takes notifications of a FHIR Subscription."""

    def may_notify(self, ehr_id: str, subscription_id: str, secret: str) -> bool:
        """Tell whether this is the secret of this EHR's subscription."""
        ...

    def notified(self, ehr_id: str, imaging_study_ids: Sequence[str]) -> None:
        """Queue the named studies, or a look for new ones; CdsError QUEUE_FULL."""
        ...


class ResultViews(Protocol):
    """Remembers who was shown an answer."""

    def note_view(self, ehr_id: str, report_id: str, *, viewer: str, door: str) -> None:
        """Remember that somebody was shown an answer by this door."""
        ...


class BackgroundWork(Protocol):
    """Background work as the machine doors see it."""

    @property
    def lives(self) -> ResultViews:
        """Return the memory of who was shown which answer."""
        ...

    def notices(self) -> ArrivalNotices:
        """Return what takes notifications of studies that arrived."""
        ...

    def looked_at(self, report: CaseReport) -> CaseReport:
        """Return an answer as it stands after a look at the archive.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED or DEADLINE: what cannot be confirmed now is not served.

        """
        ...

    def recheck(self, report: CaseReport) -> None:
        """Have an answer looked at later."""
        ...

    def counts(self) -> QueueCounts:
        """Return how long the queue is, and since when."""
        ...

    def why_stalled(self) -> str | None:
        """Return why waiting jobs are not run, or None if they are."""
        ...
