"""What the doors tell about arrivals: a Subscription's notification becomes a job, nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cds.arrival.study_analysis import StudyRequest
from cds.domain.job import JobKind, NewJob, Work
from cds.ports import JobQueue

NOTIFIED = "is_notified"


class Notifiers(Protocol):
    """Knows which subscriptions may notify us."""

    def may_notify(self, ehr_id: str, subscription_id: str, secret: str) -> bool:
        """Tell whether this is the secret of this EHR's subscription."""
        ...


@dataclass(frozen=True, slots=True)
class ArrivalNotices:
    """Takes notifications.

    Of a notification only ids are used; everything else is read again with our own token. So a
    repeated one is the same job, and a forged one learns nothing and changes nothing.
    """

    notifiers: Notifiers
    queue: JobQueue

    def may_notify(self, ehr_id: str, subscription_id: str, secret: str) -> bool:
        """Tell whether this is the secret of this EHR's subscription."""
        return self.notifiers.may_notify(ehr_id, subscription_id, secret)

    def notified(self, ehr_id: str, imaging_study_ids: Sequence[str]) -> None:
        """Queue the named studies; without a name, a look at the default PACS.

        Raises
        ------
        CdsError
            QUEUE_FULL; the EHR sends the notification again.

        """
        for imaging_study_id in imaging_study_ids:
            self.queue.submit(StudyRequest(imaging_study_id=imaging_study_id).job(ehr_id))
        if not imaging_study_ids:
            payload = {NOTIFIED: "yes"}
            poll = NewJob(JobKind.POLL_ARRIVALS, ehr_id, "poll-notified", payload, Work.INTERACTIVE)
            self.queue.submit(poll)
