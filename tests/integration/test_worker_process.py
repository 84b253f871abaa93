"""A worker process that is killed mid-job, and one that is asked to end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cds.adapters.job_queue import HueyJobQueue
from cds.adapters.storage import initialise
from cds.domain.job import JobState
from cds.settings import Settings
from tests.fakes.job_queues import a_job
from tests.fakes.worker_process import open_queue

PATIENCE_S = 60.0
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[HueyJobQueue]:
    initialise(Settings(state_dir=tmp_path))
    opened = open_queue(tmp_path)
    yield opened
    opened.messages.huey.storage.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    begun: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.fakes.worker_process", str(tmp_path)]
        begun.append(subprocess.Popen(command, cwd=ROOT))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.05)


def trace_of(folder: Path) -> list[str]:
    trace = folder / "trace"
    return trace.read_text().splitlines() if trace.exists() else []


def test_job_of_a_worker_that_is_killed_is_run_again_and_finishes_once(queue, start, tmp_path):
    job_id = queue.submit(a_job()).job_id
    first = start()
    until(lambda: trace_of(tmp_path) == ["started 1"])
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert queue.ledger.get(job_id).state is JobState.RUNNING
    (tmp_path / "go").touch()
    start()
    until(lambda: queue.ledger.get(job_id).state is JobState.DONE)
    assert trace_of(tmp_path) == ["started 1", "started 2", "finished 2"]


def test_worker_when_asked_to_end_lets_the_running_job_finish(queue, start, tmp_path):
    job_id = queue.submit(a_job()).job_id
    later = queue.submit(a_job("later")).job_id
    process = start()
    until(lambda: trace_of(tmp_path) == ["started 1"])
    process.send_signal(signal.SIGTERM)
    (tmp_path / "go").touch()
    assert process.wait(PATIENCE_S) == 0
    states = [queue.ledger.get(one).state for one in (job_id, later)]
    assert states == [JobState.DONE, JobState.WAITING]


def test_worker_that_lives_shows_a_heartbeat(queue, start):
    start()
    until(lambda: queue.ledger.desk.counts().last_heartbeat_at is not None)
