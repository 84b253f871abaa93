"""Background jobs: does somebody work on the queue, and has a job been given up."""

from __future__ import annotations

from collections.abc import Iterator

from cds.adapters.job_ledger import SqlJobLedger
from cds.adapters.storage import Storage
from cds.domain.check_line import CheckLine, failed, passed, unknown, warned
from cds.engine.background import why_stalled
from cds.ports import Clock
from cds.settings import Settings


def job_lines(settings: Settings, storage: Storage | None, clock: Clock) -> Iterator[CheckLine]:
    """Check the queue; an installation without waiting jobs needs no worker."""
    name = "background jobs"
    if storage is None:
        yield unknown(name, "the database cannot be opened")
        return
    ledger = SqlJobLedger(
        storage.engine, storage.cipher, storage.keys, clock, limit=settings.queue_limit
    )
    counts = ledger.desk.counts()
    if why_stalled(counts, clock.now()) is not None:
        yield failed(
            name,
            f"{counts.n_waiting} waiting, and no worker has shown itself for two minutes",
            "start: precedent worker",
        )
    elif counts.n_dead:
        yield warned(name, f"{counts.n_dead} given up", "look at: precedent jobs list --dead")
    else:
        yield passed(name, f"{counts.n_waiting} waiting, {counts.n_running} running")
