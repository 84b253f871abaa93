"""Composition of background work: queue, arrivals, rechecks, retention, and the worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cds.adapters.arrival_memory import SqlArrivalMemory
from cds.adapters.egress import EgressClients
from cds.adapters.fhir_lookup import FhirLookup
from cds.adapters.job_ledger import SqlJobLedger
from cds.adapters.job_messages import JobMessages, open_messages
from cds.adapters.job_queue import HueyJobQueue
from cds.adapters.job_worker import JobWorker, WorkerSetup
from cds.adapters.pacs_gate import PacsGates
from cds.adapters.polite_clients import PoliteClients
from cds.adapters.result_life import SqlResultLives
from cds.adapters.storage import Storage
from cds.adapters.study_inventory import DicomwebInventories
from cds.analysis import AnalysisPorts, Analyst
from cds.arrival.notices import ArrivalNotices
from cds.arrival.polling import ArrivalPoll
from cds.arrival.rechecks import RecheckPorts, Rechecks, recheck_job
from cds.arrival.schedule import ArrivalSchedule
from cds.arrival.study_analysis import ArrivalAnalysis, ArrivalPorts
from cds.domain.errors import CdsError, Reason
from cds.domain.job import JobKind, QueueCounts
from cds.domain.report import CaseReport
from cds.domain.time_limit import TimeLimit
from cds.kept_answers import KeptAnswerPorts, KeptAnswers
from cds.ports import BackendTokens, Clock, FhirReader, ImageSource
from cds.settings import Settings

HOUSEKEEPING_EVERY = timedelta(minutes=10)
WORKER_SILENT = timedelta(minutes=2)
LOOK_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Background:
    """Everything that happens without a call, and what is remembered for it."""

    settings: Settings
    clock: Clock
    storage: Storage
    ledger: SqlJobLedger
    queue: HueyJobQueue
    lives: SqlResultLives
    memory: SqlArrivalMemory
    inventories: DicomwebInventories
    lookup: FhirLookup
    tokens: BackendTokens

    @property
    def kept_ports(self) -> KeptAnswerPorts:
        """Return what keeping answers needs."""
        storage = self.storage
        return KeptAnswerPorts(
            self.lives, self.inventories, storage.audit, self.clock, storage.keys, self.recheck
        )

    def analysis_ports(self, reader: FhirReader, images: ImageSource) -> AnalysisPorts:
        """Return what an analysis needs; kept answers serve again while they hold."""
        storage, kept = self.storage, KeptAnswers(self.kept_ports)
        return AnalysisPorts(reader, images, storage.results, storage.audit, self.clock, kept)

    def recheck(self, report: CaseReport) -> None:
        """Have an answer looked at again; a full queue leaves that to the nightly sweep."""
        try:
            self.queue.submit(recheck_job(report.ehr_id, report.report_id))
        except CdsError as error:
            if error.reason is not Reason.QUEUE_FULL:
                raise

    def arrivals(self, analyst: Analyst) -> ArrivalAnalysis:
        """Return what analyses studies that arrive."""
        storage = self.storage
        ports = ArrivalPorts(
            registrations=storage.registrations,
            tokens=self.tokens,
            lookup=self.lookup,
            inventories=self.inventories,
            memory=self.memory,
            lives=self.lives,
            audit=storage.audit,
            keys=storage.keys,
            clock=self.clock,
        )
        return ArrivalAnalysis(ports, analyst)

    def rechecks(self) -> Rechecks:
        """Return what looks at kept answers again."""
        storage = self.storage
        return Rechecks(
            RecheckPorts(
                registrations=storage.registrations,
                results=storage.results,
                lives=self.lives,
                tokens=self.tokens,
                lookup=self.lookup,
                inventories=self.inventories,
                queue=self.queue,
                kept=self.kept_ports,
            )
        )

    def notices(self) -> ArrivalNotices:
        """Return what takes notifications of a FHIR Subscription."""
        return ArrivalNotices(self.memory, self.queue)

    def looked_at(self, report: CaseReport) -> CaseReport:
        """Return an answer as it stands after a look at the archive (`Rechecks.looked_at`)."""
        return self.rechecks().looked_at(report, deadline=TimeLimit(LOOK_LIMIT_S))

    def poll(self) -> ArrivalPoll:
        """Return what looks for new studies."""
        return ArrivalPoll(
            self.storage.registrations, self.inventories, self.memory, self.queue, self.clock
        )

    def worker(self, analyst: Callable[[], Analyst], *, n_threads: int) -> JobWorker:
        """Return a worker for every kind of job, with schedule and housekeeping.

        Each job asks for the analyst anew: another encoder may serve by then.
        """
        rechecks = self.rechecks()
        handlers = {
            JobKind.ANALYSE_STUDY: lambda job: self.arrivals(analyst()).run(job),
            JobKind.POLL_ARRIVALS: self.poll().run,
            JobKind.RECHECK_RESULT: rechecks.recheck,
            JobKind.SWEEP_RESULTS: rechecks.sweep,
        }
        schedule = ArrivalSchedule(self.storage.registrations, self.queue, self.clock)
        housekeeping = Housekeeping(self)

        def tick() -> None:
            schedule.tick()
            housekeeping.tick()

        return JobWorker(self.queue, WorkerSetup(handlers, n_threads, tick))

    def counts(self) -> QueueCounts:
        """Return how the queue is doing."""
        return self.ledger.desk.counts()

    def why_stalled(self) -> str | None:
        """Return why waiting jobs are not run, or None if they are."""
        return why_stalled(self.counts(), self.clock.now())


def why_stalled(counts: QueueCounts, now: datetime) -> str | None:
    """Return why waiting jobs are not run, or None if they are."""
    if counts.oldest_waiting_at is None:
        return None
    beat = counts.last_heartbeat_at
    if beat is None or now - beat > WORKER_SILENT:
        return "Jobs are waiting and no worker runs; start `precedent worker`."
    return None


class Housekeeping:
    """Deletes what may not be kept any longer, now and then."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._done_at: datetime | None = None

    def tick(self) -> None:
        """Delete unopened answers, done jobs and old sightings, if it is time."""
        background = self._background
        now = background.clock.now()
        if self._done_at is not None and now - self._done_at < HOUSEKEEPING_EVERY:
            return
        self._done_at = now
        kept = timedelta(hours=background.settings.precomputed_hours)
        background.lives.delete_unopened(older_than=kept)
        background.ledger.desk.purge()
        background.memory.purge()


class MessagesOfProcess:
    """Opens the queue of messages at its first use in each process: connections do not fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._owner_pid = -1
        self._messages: JobMessages | None = None

    def __call__(self) -> JobMessages:
        """Return this process's messages."""
        if self._messages is None or self._owner_pid != os.getpid():
            settings = self._settings
            self._messages = open_messages(settings.queue_url, settings.state_dir)
            self._owner_pid = os.getpid()
        return self._messages


def open_background(
    settings: Settings,
    storage: Storage,
    clients: EgressClients,
    *,
    clock: Clock,
    tokens: BackendTokens,
    gates: PacsGates | None = None,
) -> Background:
    """Wire background work.

    Parameters
    ----------
    tokens
        Our own access tokens; where we have none at an EHR they refuse in words.
    gates
        What keeps polls and checks polite to each PACS; None makes new ones.

    """
    ledger = SqlJobLedger(
        storage.engine, storage.cipher, storage.keys, clock, limit=settings.queue_limit
    )
    messages: Callable[[], JobMessages] = MessagesOfProcess(settings)
    return Background(
        settings=settings,
        clock=clock,
        storage=storage,
        ledger=ledger,
        queue=HueyJobQueue(ledger, messages, clock),
        lives=SqlResultLives(storage.engine, storage.cipher, storage.keys, clock),
        memory=SqlArrivalMemory(storage.engine, storage.keys, clock),
        inventories=DicomwebInventories(
            PoliteClients.like(clients, gates or PacsGates(state_dir=settings.state_dir))
        ),
        lookup=FhirLookup(clients),
        tokens=tokens,
    )
