"""`precedent jobs`: the queue of background jobs and its dead letters; nothing of a patient."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime

from cds.cli.argument_types import at_least_one
from cds.domain.errors import CdsError, Reason
from cds.domain.job import Job, JobState, QueueCounts
from cds.engine import Engine, engine_from_settings
from cds.settings import settings_from_environment

_SHOWN = (JobState.DEAD, JobState.RUNNING, JobState.WAITING)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its actions."""
    parser = subparsers.add_parser(
        "jobs", help="look at background jobs and dead letters", description=__doc__
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list jobs, dead letters first")
    listing.add_argument("--dead", action="store_true", help="dead letters only")
    listing.add_argument("--ehr", help="of one EHR")
    listing.add_argument("--limit", type=at_least_one, default=100, help="of each state, at most")
    listing.add_argument("--json", action="store_true", help="print JSON for machines")
    listing.set_defaults(run=list_jobs)
    for name, call, summary in (
        ("show", show, "show one job"),
        ("retry", retry, "put a dead letter back into the queue"),
        ("drop", drop, "forget a dead letter"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("job_id", metavar="ID")
        action.set_defaults(run=call)


def list_jobs(arguments: argparse.Namespace) -> int:
    """Print the jobs and how the queue is doing."""
    engine = _engine()
    desk, counts = engine.background.ledger.desk, engine.background.counts()
    states = (JobState.DEAD,) if arguments.dead else _SHOWN
    jobs = [
        job
        for state in states
        for job in desk.list(states=(state,), ehr_id=arguments.ehr, limit=arguments.limit)
    ]
    if arguments.json:
        sys.stdout.write(json.dumps([_facts(job) for job in jobs], indent=1) + "\n")
        return 0
    sys.stdout.write("".join(map(_lines, jobs)))
    sys.stdout.write(
        f"{counts.n_waiting} waiting, {counts.n_running} running, {counts.n_dead} dead. "
        f"{_progress(counts, engine.background.why_stalled())}\n"
    )
    return 0


def _progress(counts: QueueCounts, why_stalled: str | None) -> str:
    if why_stalled is not None:
        return why_stalled
    return "Waiting jobs are being run." if counts.n_waiting else "Nothing waits."


def show(arguments: argparse.Namespace) -> int:
    """Print one job without its payload.

    Raises
    ------
    CdsError
        NOT_FOUND if there is none with this id.

    """
    job = _engine().background.ledger.get(arguments.job_id)
    if job is None:
        raise CdsError(Reason.NOT_FOUND, "There is no job with this id.")
    sys.stdout.write(json.dumps(_facts(job), indent=1) + "\n")
    return 0


def retry(arguments: argparse.Namespace) -> int:
    """Put a dead letter back; CdsError as `HueyJobQueue.retry`."""
    job = _engine().background.queue.retry(arguments.job_id)
    sys.stdout.write(f"{job.job_id} is waiting again.\n")
    return 0


def drop(arguments: argparse.Namespace) -> int:
    """Forget a dead letter; CdsError as `SqlJobDesk.drop`."""
    _engine().background.ledger.desk.drop(arguments.job_id)
    sys.stdout.write("Dropped.\n")
    return 0


def _engine() -> Engine:
    return engine_from_settings(settings_from_environment())


def _facts(job: Job) -> dict[str, object]:
    return {
        "id": job.job_id,
        "kind": job.kind.value,
        "ehr": job.ehr_id,
        "state": job.state.value,
        "work": job.work.value,
        "order_priority": None if job.order_priority is None else job.order_priority.value,
        "attempts": job.attempts,
        "reason": job.reason,
        "queued_at": job.queued_at.isoformat(),
        "not_before": job.not_before.isoformat(),
        "first_failed_at": _text(job.first_failed_at),
        "last_failed_at": _text(job.last_failed_at),
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _lines(job: Job) -> str:
    order = "" if job.order_priority is None else f", order {job.order_priority.value}"
    tries = f"{job.attempts} tries" if job.attempts != 1 else "1 try"
    at = job.last_failed_at or job.queued_at
    head = f"{job.job_id}  {job.state.value}  {job.kind.value}  {job.ehr_id}{order}, {tries}"
    return f"{head}, {at:%Y-%m-%d %H:%M} UTC\n" + (f"  {job.reason}\n" if job.reason else "")
