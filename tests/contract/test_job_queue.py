"""One contract for the queue of background jobs, on a SQLite file and on Redis."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

from cds.adapters.job_messages import open_messages
from cds.domain.errors import CdsError, Reason
from cds.domain.job import MAX_ATTEMPTS, Deferral, JobState, OrderPriority, Work
from tests.fakes.job_queues import LIMIT, MINUTE, QueueAtRest, a_job


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = shutil.which("redis-server")
    if binary is None or find_spec("redis") is None:
        pytest.skip("redis-server or its Python client is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([binary, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "Ready to accept connections" in line:
            break
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait()
    process.stdout.close()


@pytest.fixture(params=["sqlite", "redis"])
def at_rest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueAtRest]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("redis_url")
    opened = QueueAtRest(tmp_path, url)
    yield opened
    opened.close()


def test_jobs_when_queued_together_run_by_order_priority_with_bulk_last(at_rest) -> None:
    at_rest.queue.submit(a_job("bulk", work=Work.BULK, order_priority=OrderPriority.STAT))
    for name in ("routine", "urgent", "asap", "stat"):
        at_rest.queue.submit(a_job(name, order_priority=OrderPriority(name)))
    at_rest.queue.submit(a_job("person", work=Work.INTERACTIVE))
    assert at_rest.receive_all() == ["stat", "asap", "urgent", "person", "routine", "bulk"]


def test_job_when_submitted_twice_is_one_job_and_runs_once(at_rest) -> None:
    first = at_rest.queue.submit(a_job())
    assert at_rest.queue.submit(a_job()).job_id == first.job_id
    assert at_rest.receive_all() == ["one"]
    assert at_rest.ledger.get(first.job_id).state is JobState.DONE


def test_job_when_its_message_comes_twice_runs_once(at_rest) -> None:
    job = at_rest.queue.submit(a_job())
    at_rest.queue.send(job)
    assert at_rest.receive_all() == ["one"]


def test_job_of_another_ehr_about_the_same_subject_is_another_job(at_rest) -> None:
    first = at_rest.queue.submit(a_job())
    assert at_rest.queue.submit(a_job(ehr_id="b")).job_id != first.job_id


def test_failure_when_it_lasts_is_tried_again_later_and_later_then_is_a_dead_letter(at_rest):
    def fail(_job):
        raise CdsError(Reason.UPSTREAM_FAILED, "The PACS answered 503.")

    at_rest.handler = fail
    job_id = at_rest.queue.submit(a_job()).job_id
    delays = []
    for _ in range(MAX_ATTEMPTS):
        at_rest.worker.run_job(job_id)
        job = at_rest.ledger.get(job_id)
        delays.append((job.not_before - at_rest.clock.now()).total_seconds())
        at_rest.worker.run_job(job_id)  # not due: nothing happens
        at_rest.clock.advance(timedelta(seconds=max(delays[-1], 0)))
    assert delays[:-1] == [10.0, 25.0, 62.5, 156.25, 390.625]
    assert (job.state, job.attempts) == (JobState.DEAD, MAX_ATTEMPTS)
    assert job.reason == "The PACS answered 503."
    assert job.first_failed_at < job.last_failed_at
    assert at_rest.ledger.desk.counts().n_dead == 1
    assert len(at_rest.seen) == MAX_ATTEMPTS


def test_failure_that_trying_again_cannot_mend_is_a_dead_letter_at_once(at_rest) -> None:
    def fail(_job):
        raise CdsError(Reason.INVALID_CONFIGURATION, "No credentials are registered.")

    at_rest.handler = fail
    job_id = at_rest.queue.submit(a_job()).job_id
    at_rest.receive_all()
    assert at_rest.ledger.get(job_id).state is JobState.DEAD


def test_dead_letter_when_retried_runs_again_and_when_dropped_is_gone(at_rest) -> None:
    def fail(_job):
        raise CdsError(Reason.INVALID_CONFIGURATION, "No credentials are registered.")

    at_rest.handler = fail
    job_id = at_rest.queue.submit(a_job()).job_id
    at_rest.receive_all()
    at_rest.handler = lambda _job: None
    at_rest.queue.retry(job_id)
    assert at_rest.receive_all() == ["one"]
    assert at_rest.ledger.get(job_id).state is JobState.DONE
    with pytest.raises(CdsError, match="no dead letter"):
        at_rest.queue.retry(job_id)
    at_rest.handler = fail
    other = at_rest.queue.submit(a_job("two")).job_id
    at_rest.receive_all()
    at_rest.ledger.desk.drop(other)
    assert at_rest.ledger.get(other) is None


def test_dead_letter_when_a_newer_job_waits_for_the_same_is_not_retried(at_rest) -> None:
    def fail(_job):
        raise CdsError(Reason.INVALID_CONFIGURATION, "No credentials are registered.")

    at_rest.handler = fail
    job_id = at_rest.queue.submit(a_job()).job_id
    at_rest.receive_all()
    at_rest.queue.submit(a_job())
    with pytest.raises(CdsError, match="already waiting"):
        at_rest.queue.retry(job_id)


def test_unexpected_error_of_a_job_is_kept_by_class_and_id_never_by_its_text(at_rest) -> None:
    def fail(_job):
        raise RuntimeError("Jane Doe, born 1959")

    at_rest.handler = fail
    job_id = at_rest.queue.submit(a_job()).job_id
    at_rest.receive_all()
    reason = at_rest.ledger.get(job_id).reason
    assert "RuntimeError" in reason
    assert "Doe" not in reason


def test_deferred_job_waits_without_using_up_an_attempt_and_moves_in_the_queue(at_rest) -> None:
    at_rest.handler = lambda _job: Deferral(MINUTE, "Still arriving.", OrderPriority.STAT)
    job_id = at_rest.queue.submit(a_job()).job_id
    at_rest.receive_all()
    job = at_rest.ledger.get(job_id)
    assert (job.state, job.attempts, job.reason) == (JobState.WAITING, 0, "Still arriving.")
    assert (job.not_before - at_rest.clock.now(), job.order_priority) == (MINUTE, "stat")


def test_full_queue_refuses_bulk_at_half_and_everything_at_its_limit(at_rest) -> None:
    for number in range(LIMIT // 2):
        at_rest.queue.submit(a_job(str(number), work=Work.BULK))
    with pytest.raises(CdsError, match="bulk work waits") as refused:
        at_rest.queue.submit(a_job("more", work=Work.BULK))
    assert refused.value.reason is Reason.QUEUE_FULL
    for number in range(LIMIT // 2, LIMIT):
        at_rest.queue.submit(a_job(str(number)))
    with pytest.raises(CdsError, match="full"):
        at_rest.queue.submit(a_job("one too many"))


def test_bulk_job_when_another_fills_the_bulk_threads_gives_way(at_rest) -> None:
    ids = [at_rest.queue.submit(a_job(n, work=Work.BULK)).job_id for n in ("one", "two")]
    at_rest.ledger.claim(ids[0], "another-worker")
    at_rest.worker.run_job(ids[1])
    job = at_rest.ledger.get(ids[1])
    assert (at_rest.seen, job.state, job.attempts) == ([], JobState.WAITING, 0)


def test_job_of_a_worker_that_died_is_run_again_when_its_lease_ends(at_rest) -> None:
    job_id = at_rest.queue.submit(a_job()).job_id
    held = at_rest.ledger.claim(job_id, "worker-that-dies")
    assert at_rest.ledger.recover() == ()
    at_rest.clock.advance(at_rest.ledger.lease + timedelta(seconds=1))
    assert [job.job_id for job in at_rest.ledger.recover()] == [job_id]
    at_rest.worker.run_job(job_id)
    assert at_rest.ledger.get(job_id).state is JobState.DONE
    assert not at_rest.ledger.finish(held, "worker-that-dies")  # too late: it was taken


def test_job_of_a_worker_that_beats_is_not_taken_from_it(at_rest) -> None:
    job_id = at_rest.queue.submit(a_job()).job_id
    at_rest.ledger.claim(job_id, "slow-worker")
    at_rest.clock.advance(at_rest.ledger.lease - timedelta(seconds=1))
    at_rest.ledger.beat("slow-worker")
    at_rest.clock.advance(at_rest.ledger.lease - timedelta(seconds=1))
    assert at_rest.ledger.recover() == ()


def test_job_that_kills_each_worker_is_a_dead_letter_in_the_end(at_rest) -> None:
    job_id = at_rest.queue.submit(a_job()).job_id
    for _ in range(MAX_ATTEMPTS):
        at_rest.ledger.claim(job_id, "worker-that-dies")
        at_rest.clock.advance(at_rest.ledger.lease + timedelta(seconds=1))
        at_rest.ledger.recover()
    job = at_rest.ledger.get(job_id)
    assert (job.state, job.reason) == (JobState.DEAD, "The worker died while it ran this job.")


def test_job_when_many_workers_want_it_goes_to_one(at_rest) -> None:
    job_id = at_rest.queue.submit(a_job()).job_id
    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(lambda n: at_rest.ledger.claim(job_id, f"w{n}"), range(8)))
    assert sum(claim is not None for claim in claims) == 1


def test_subject_when_submitted_by_many_at_once_is_one_job(at_rest) -> None:
    with ThreadPoolExecutor(8) as threads:
        jobs = list(threads.map(lambda _n: at_rest.queue.submit(a_job()), range(8)))
    assert len({job.job_id for job in jobs}) == 1
    assert at_rest.receive_all() == ["one"]


def test_message_that_is_lost_is_sent_again(at_rest) -> None:
    at_rest.queue.submit(a_job())
    at_rest.messages.huey.storage.flush_queue()
    at_rest.clock.advance(2 * MINUTE)
    at_rest.worker.tick()
    assert at_rest.receive_all() == ["one"]


def test_queue_when_something_else_lies_in_it_refuses_it_without_unpickling(at_rest, tmp_path):
    planted = tmp_path / "ran"
    hostile = f"cposix\nsystem\n(S'touch {planted}'\ntR.".encode()
    for content in (hostile, b"[" * 900, b'{"id": 1}', b"x" * 2_000):
        at_rest.messages.huey.storage.enqueue(content, 500)
        with pytest.raises(ValueError, match="queue holds"):
            at_rest.messages.huey.dequeue()
    assert not planted.exists()
    at_rest.queue.submit(a_job())
    assert at_rest.receive_all() == ["one"]


def test_message_and_row_hold_no_payload_in_plain_text(at_rest, tmp_path) -> None:
    at_rest.queue.submit(a_job("1.2.840.99.4711", payload={"patient_id_value": "MRN-SEEDED"}))
    (message,) = at_rest.messages.huey.storage.enqueued_items()
    kept = b"".join(p.read_bytes() for p in tmp_path.iterdir() if p.is_file())
    for secret in (b"MRN-SEEDED", b"1.2.840.99.4711"):
        assert secret not in bytes(message)
        assert secret not in kept


def test_counts_tell_length_dead_letters_and_the_oldest_waiting(at_rest) -> None:
    queued_at = at_rest.clock.now()
    at_rest.queue.submit(a_job())
    at_rest.queue.submit(a_job("later", delay=10 * MINUTE))
    at_rest.clock.advance(MINUTE)
    at_rest.ledger.beat("w")
    counts = at_rest.ledger.desk.counts()
    assert (counts.n_waiting, counts.n_running, counts.n_dead) == (2, 0, 0)
    assert counts.oldest_waiting_at == queued_at
    assert counts.last_heartbeat_at == at_rest.clock.now()


def test_finished_jobs_are_forgotten_after_a_day_and_dead_letters_are_not(at_rest) -> None:
    done = at_rest.queue.submit(a_job()).job_id
    at_rest.receive_all()
    dead = at_rest.queue.submit(a_job("dead")).job_id
    at_rest.ledger.fail(at_rest.ledger.claim(dead, "w"), "w", "No.", is_permanent=True)
    at_rest.clock.advance(timedelta(days=2))
    at_rest.ledger.desk.purge()
    assert at_rest.ledger.get(done) is None
    assert at_rest.ledger.get(dead) is not None


def test_period_of_a_schedule_runs_once_even_after_it_is_done(at_rest) -> None:
    at_rest.queue.submit(a_job(is_once=True))
    at_rest.receive_all()
    at_rest.queue.submit(a_job(is_once=True))
    assert at_rest.receive_all() == []


def test_queue_url_that_is_neither_redis_nor_empty_is_refused(tmp_path) -> None:
    with pytest.raises(CdsError, match="redis://") as refused:
        open_messages("amqp://queue.example.invalid", tmp_path)
    assert refused.value.reason is Reason.INVALID_CONFIGURATION


def test_job_when_its_queue_cannot_be_written_is_kept_and_sent_later(tmp_path) -> None:
    at_rest = QueueAtRest(tmp_path)
    at_rest.messages.huey.storage.sql("drop table task", commit=True)
    job = at_rest.queue.submit(a_job())
    kept = at_rest.ledger.get(job.job_id)
    assert kept is not None
    assert kept.state is JobState.WAITING
    at_rest.messages.huey.storage.initialize_schema()
    at_rest.clock.advance(2 * MINUTE)
    at_rest.worker.tick()
    assert at_rest.receive_all() == ["one"]
    at_rest.close()
