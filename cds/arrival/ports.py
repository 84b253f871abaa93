"""What arrivals remember, and what lists new studies; adapters implement them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from cds.arrival_ports import ResultLives
from cds.domain.arrival import FoundStudy
from cds.domain.completeness import InstanceCount
from cds.domain.report import CaseReport


class ArrivalMemory(Protocol):
    """Remembers what was seen of arriving studies, and who is never analysed on arrival."""

    def is_new(self, ehr_id: str, found: FoundStudy) -> bool:
        """Tell whether a listed study was never seen, or has another number of instances now."""
        ...

    def mark_seen(self, ehr_id: str, found: FoundStudy) -> None:
        """Remember that a listed study was taken up."""
        ...

    def count(self, ehr_id: str, study_instance_uid: str, n_instances: int) -> InstanceCount:
        """Note how many instances a study has now, and return since when it has had as many."""
        ...

    def is_excluded(self, ehr_id: str, patient_id: str) -> bool:
        """Tell whether a patient is on the site's list."""
        ...


class SweepableLives(ResultLives, Protocol):
    """Lives of answers, and which of them are to be looked at again."""

    def is_fresh(self, report: CaseReport, *, within: timedelta) -> bool:
        """Tell whether an answer was found to hold so recently."""
        ...

    def standing(
        self, ehr_id: str, *, since: datetime, checked_before: datetime
    ) -> tuple[str, ...]:
        """Return the ids of an EHR's answers since then that stand, oldest check first."""
        ...
