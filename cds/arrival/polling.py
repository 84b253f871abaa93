"""The job `poll-arrivals`: asks an EHR's default PACS for new studies and queues their analysis."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from cds.arrival.notices import NOTIFIED
from cds.arrival.ports import ArrivalMemory
from cds.arrival.study_analysis import StudyRequest, registered
from cds.arrival_ports import NewStudies
from cds.domain.errors import CdsError, Reason
from cds.domain.job import Deferral, Job
from cds.domain.time_limit import TimeLimit
from cds.ports import Clock, JobQueue, Registrations

POLL_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class ArrivalPoll:
    """Looks for new studies."""

    registrations: Registrations
    new_studies: NewStudies
    memory: ArrivalMemory
    queue: JobQueue
    clock: Clock

    def run(self, job: Job) -> Deferral | None:
        """Queue what is new; where the queue is full, the rest is taken up at the next poll.

        Raises
        ------
        CdsError
            What `NewStudies.since` raises.

        """
        registration = registered(self.registrations, job.ehr_id)
        rules = registration.arrival
        if not (rules.is_enrolled and (rules.is_polled or NOTIFIED in job.payload)):
            return None
        today = self.clock.now().astimezone(ZoneInfo(registration.time_zone)).date()
        first_on = today - timedelta(days=rules.poll_days)
        found = self.new_studies.since(registration, first_on, deadline=TimeLimit(POLL_LIMIT_S))
        for study in found:
            if not self.memory.is_new(job.ehr_id, study):
                continue
            try:
                self.queue.submit(StudyRequest(study.study_instance_uid).job(job.ehr_id))
            except CdsError as error:
                if error.reason is Reason.QUEUE_FULL:
                    return None
                raise
            self.memory.mark_seen(job.ehr_id, study)
        return None
