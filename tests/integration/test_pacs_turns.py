"""Two processes of one installation ask a PACS: together no more than its administrator agreed."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from cds.adapters.pacs_gate import PacsGate, Work
from cds.adapters.pacs_turns import PacsTurns, turns_folder
from cds.domain.errors import CdsError, Reason
from cds.domain.pacs_policy import PacsPolicy
from tests.fakes.pace import STARTED_AT, FakeTime

PER_PROCESS = 6
REQUESTS_PER_S = 5.0
PACS = "https://pacs.example.invalid/dicomweb"
SPAWN = multiprocessing.get_context("spawn")
ENDS_S = 60.0


def ask_and_note(folder: Path, log: Path, policy: PacsPolicy, begin: object) -> None:
    """Ask several times; each request notes when it began and ended."""
    begin.wait()  # type: ignore[attr-defined]  # a Barrier of the context
    gate = PacsGate(policy, folder=folder)

    def request(_meter: object) -> None:
        began_s = time.time()
        time.sleep(0.02)
        with log.open("a") as file:
            file.write(json.dumps([began_s, time.time()]) + "\n")

    for _ in range(PER_PROCESS):
        gate.ask(request, work=Work.PROMPT)


def hold(folder: Path, ready: object) -> None:
    turns = PacsTurns(PacsPolicy(max_parallel=1), time.time, time.sleep, folder)
    with turns.under_way(is_prompt=False):
        ready.set()  # type: ignore[attr-defined]  # an Event of the context
        time.sleep(ENDS_S)


def take_turns(folder: Path, log: Path, policy: PacsPolicy, begin: object) -> None:
    """Take turns without waiting for them, and note for when each is."""
    begin.wait()  # type: ignore[attr-defined]  # a Barrier of the context
    turns = PacsTurns(policy, time.time, time.sleep, folder)
    for _ in range(PER_PROCESS):
        turns.reserve()
        with log.open("a") as file:
            file.write(f"{turns.next_request_s!r}\n")


def run_two(target: Callable[..., None], folder: Path, log: Path, policy: PacsPolicy) -> None:
    arguments = (folder, log, policy, SPAWN.Barrier(2))
    both = [SPAWN.Process(target=target, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(ENDS_S)
    assert [process.exitcode for process in both] == [0, 0]


def a_gate(folder: Path | None, fake: FakeTime, **policy: object) -> PacsGate:
    return PacsGate(PacsPolicy(**policy), pace=fake.pace, folder=folder)  # type: ignore[arg-type]  # by keyword


def test_two_processes_together_keep_the_rate_of_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_two(take_turns, tmp_path / "turns", log, PacsPolicy(requests_per_s=REQUESTS_PER_S))
    turns_s = sorted(json.loads(line) for line in log.read_text().splitlines())
    assert len(turns_s) == 2 * PER_PROCESS
    distances_s = [later - earlier for earlier, later in itertools.pairwise(turns_s)]
    assert min(distances_s) >= 1.0 / REQUESTS_PER_S - 1e-5  # as exact as a float of the clock is


def test_two_processes_together_have_one_request_under_way(tmp_path: Path) -> None:
    log = tmp_path / "log"
    policy = PacsPolicy(max_parallel=1, requests_per_s=1000.0)
    run_two(ask_and_note, tmp_path / "turns", log, policy)
    spans = sorted(json.loads(line) for line in log.read_text().splitlines())
    assert len(spans) == 2 * PER_PROCESS
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans))


def test_place_of_a_process_that_was_killed_is_free_again(tmp_path: Path) -> None:
    ready = SPAWN.Event()
    process = SPAWN.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(ENDS_S)
    slept: list[float] = []

    def kill_then_sleep(seconds: float) -> None:
        if not slept and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.join(ENDS_S)
        slept.append(seconds)

    turns = PacsTurns(PacsPolicy(max_parallel=1), time.time, kill_then_sleep, tmp_path)
    with turns.under_way(is_prompt=True):
        assert slept  # it was taken at first


def test_bulk_work_lets_prompt_work_of_another_process_go_first(tmp_path: Path) -> None:
    order: list[str] = []

    class EndedError(Exception):
        pass

    def give_up(_seconds: float) -> None:
        order.append("waits")
        raise EndedError

    policy = PacsPolicy(max_parallel=1)
    holder = PacsTurns(policy, time.time, time.sleep, tmp_path)
    bulk = PacsTurns(policy, time.time, give_up, tmp_path)

    def while_prompt_waits(_seconds: float) -> None:
        held.__exit__(None, None, None)  # the place is free now, but prompt work waits for it
        with pytest.raises(EndedError), bulk.under_way(is_prompt=False):
            order.append("bulk")

    held = holder.under_way(is_prompt=False)
    held.__enter__()
    prompt = PacsTurns(policy, time.time, while_prompt_waits, tmp_path)
    with prompt.under_way(is_prompt=True):
        order.append("prompt")
    assert order == ["waits", "prompt"]
    with bulk.under_way(is_prompt=False):
        order.append("bulk")
    assert order[-1] == "bulk"


def test_retry_after_that_one_gate_was_told_holds_for_the_other(tmp_path: Path) -> None:
    fake = FakeTime()
    told, other = a_gate(tmp_path, fake), a_gate(tmp_path, fake)

    def busy(_meter: object) -> None:
        raise CdsError(Reason.UPSTREAM_FAILED, "Busy.", status=503, retry_after_s=30)

    with pytest.raises(CdsError):
        told.ask(busy, work=Work.PROMPT)
    with pytest.raises(CdsError, match="left alone"):
        other.ask(lambda _meter: "answer", work=Work.PROMPT)
    fake.elapsed_s += 31
    assert other.ask(lambda _meter: "answer", work=Work.PROMPT) == "answer"


def test_bytes_that_one_gate_fetched_delay_the_other(tmp_path: Path) -> None:
    fake = FakeTime()
    one, other = (a_gate(tmp_path, fake, megabytes_per_s=1.0) for _ in range(2))
    one.ask(lambda meter: meter(5_000_000))
    other.ask(lambda _meter: None)
    assert fake.elapsed_s == pytest.approx(5.0)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"at_s": "x"}', b"\xff" * 5000], ids=str)
def test_damaged_file_starts_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "times").write_bytes(content)
    fake = FakeTime()
    gate = a_gate(tmp_path, fake, requests_per_s=4.0)
    for _ in range(3):
        gate.ask(lambda _meter: None)
    assert fake.elapsed_s == pytest.approx(0.5)


def test_clock_that_is_set_back_makes_nobody_wait(tmp_path: Path) -> None:
    fake = FakeTime()
    a_gate(tmp_path, fake, requests_per_s=4.0).ask(lambda _meter: None)
    earlier = FakeTime(STARTED_AT - timedelta(hours=2))
    a_gate(tmp_path, earlier, requests_per_s=4.0).ask(lambda _meter: None)
    assert earlier.elapsed_s == pytest.approx(0.25)


def test_folder_that_cannot_be_made_leaves_the_limits_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    fake = FakeTime()
    gate = a_gate(tmp_path / "file" / "turns", fake, requests_per_s=4.0)
    for _ in range(3):
        gate.ask(lambda _meter: None)
    assert fake.elapsed_s == pytest.approx(0.5)


def test_folder_is_one_for_each_pacs(tmp_path: Path) -> None:
    assert turns_folder(tmp_path, PACS) == turns_folder(tmp_path, PACS + "/")
    assert turns_folder(tmp_path, PACS) != turns_folder(tmp_path, PACS + "2")
    assert turns_folder(tmp_path, None) is None
