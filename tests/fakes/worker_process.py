"""A worker in a process of its own, whose job waits until the test lets it finish.

``python -m tests.fakes.worker_process STATE`` appends ``started`` and ``finished`` to STATE/trace
and waits for STATE/go in between.
"""

import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

from cds.adapters.job_ledger import SqlJobLedger
from cds.adapters.job_messages import open_messages
from cds.adapters.job_queue import HueyJobQueue
from cds.adapters.job_worker import JobWorker, WorkerSetup
from cds.adapters.storage import SystemClock, open_storage
from cds.domain.job import Job, JobKind
from cds.settings import Settings

LEASE = timedelta(seconds=2)


def open_queue(state_dir: Path) -> HueyJobQueue:
    """Return the queue of a state folder, on the computer's clock."""
    clock = SystemClock()
    storage = open_storage(Settings(state_dir=state_dir), clock)
    ledger = SqlJobLedger(
        storage.engine, storage.cipher, storage.keys, clock, limit=10, lease=LEASE
    )
    messages = open_messages("", state_dir)
    return HueyJobQueue(ledger, lambda: messages, clock)


def main(state_dir: Path) -> int:
    """Work until SIGTERM."""
    trace, go, pause = state_dir / "trace", state_dir / "go", threading.Event()

    def handle(job: Job) -> None:
        with trace.open("a") as out:
            out.write(f"started {job.attempts}\n")
        while not go.exists():
            pause.wait(0.05)
        with trace.open("a") as out:
            out.write(f"finished {job.attempts}\n")

    worker = JobWorker(open_queue(state_dir), WorkerSetup(dict.fromkeys(JobKind, handle)))
    signal.signal(signal.SIGTERM, lambda _number, _frame: worker.stop())
    return 0 if worker.run() else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
