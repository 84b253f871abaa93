"""When polls and sweeps are due; each worker asks, the queue makes sure that each runs once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cds.domain.errors import CdsError
from cds.domain.job import JobKind, NewJob, Work
from cds.domain.registration import EhrRegistration
from cds.ports import Clock, JobQueue, Registrations

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=5)
SWEEP_HOUR = 3  # of the EHR's own time: few users, and the PACS's nightly jobs are over


@dataclass(slots=True)
class ArrivalSchedule:
    """Submits what is due."""

    registrations: Registrations
    queue: JobQueue
    clock: Clock
    _looked_at: datetime | None = None
    _slots: dict[str, int] = field(default_factory=dict)

    def tick(self) -> None:
        """Submit polls and sweeps that are due now; a full queue is asked again next time."""
        now = self.clock.now()
        if self._looked_at is not None and now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = now
        for registration in self.registrations.all():
            try:
                self._poll(registration, now)
                self._sweep(registration, now)
            except CdsError as error:
                log.warning(
                    "schedule-deferred",
                    extra={"ehr_id": registration.ehr_id, "reason": error.reason.value},
                )

    def _poll(self, registration: EhrRegistration, now: datetime) -> None:
        rules, ehr_id = registration.arrival, registration.ehr_id
        if not (rules.is_enrolled and rules.is_polled):
            return
        slot = int(now.timestamp()) // max(1, rules.poll_every_s)
        if self._slots.get(ehr_id) == slot:
            return
        self.queue.submit(NewJob(JobKind.POLL_ARRIVALS, ehr_id, "poll", work=Work.INTERACTIVE))
        self._slots[ehr_id] = slot

    def _sweep(self, registration: EhrRegistration, now: datetime) -> None:
        local = now.astimezone(ZoneInfo(registration.time_zone))
        if local.hour != SWEEP_HOUR:
            return
        subject = f"sweep:{local.date().isoformat()}"
        self.queue.submit(
            NewJob(
                JobKind.SWEEP_RESULTS,
                registration.ehr_id,
                subject,
                work=Work.BULK,
                is_once=True,
            )
        )
