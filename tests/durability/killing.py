"""Prepared installations, journeys of commands, and where to kill them."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cds.settings import Settings
from tests.builders.library import NativeFolder, a_native_row, flat_png, png_bytes
from tests.durability.end_state import EndState, end_state
from tests.servers.postgresql import PostgresqlServer

SCRIPT = Path(__file__).with_name("killable.py")
KILLED = -9
AT_ONCE = 2  # commands that run beside each other; CI has two cores


@dataclass(frozen=True)
class Installation:
    """A state folder with its database."""

    folder: Path
    encoder: Path
    database_url: str = ""

    @property
    def settings(self) -> Settings:
        return Settings(
            state_dir=self.folder, database_url=self.database_url, encoder_dir=self.encoder
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PRECEDENT_STATE_DIR": str(self.folder),
            "PRECEDENT_DATABASE_URL": self.database_url,
            "PRECEDENT_ENCODER_DIR": str(self.encoder),
        }

    def end_state(self) -> EndState:
        return end_state(self.settings)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    seconds: float
    counts: Mapping[str, int]


@dataclass
class Runner:
    """One process that runs commands one after the other, each in a child of its own."""

    log: Path
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self,
        installation: Installation,
        arguments: Sequence[str],
        *,
        point: Mapping[str, Any] | None = None,
        after_s: float | None = None,
    ) -> Ended:
        request = {
            "arguments": list(arguments),
            "environment": installation.environment,
            "log": str(self.log),
            "point": point,
            "after_s": after_s,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))

    def run_well(self, installation: Installation, arguments: Sequence[str]) -> Ended:
        ended = self.run(installation, arguments)
        assert ended.status == 0, self.log.read_text()[-3000:]
        return ended

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def runners(folder: Path) -> Iterator[list[Runner]]:
    """Start the processes that run commands beside each other."""
    with ExitStack() as stack:
        made = [Runner(folder / f"commands-{i}.log") for i in range(AT_ONCE)]
        for runner in made:
            stack.callback(runner.close)
        yield made


def a_source(folder: Path, n_rows: int) -> Path:
    """A collection of distinct pictures; every seventh cannot be used and goes to quarantine."""
    rows = [a_native_row(patientid=str(i // 2), filename=f"{i}.png") for i in range(n_rows)]
    pictures = {f"{i}.png": flat_png() if i % 7 == 3 else png_bytes(i) for i in range(n_rows)}
    return NativeFolder(folder).write(rows, pictures)


@dataclass(frozen=True)
class Journey:
    """Commands that lead from a prepared installation to an end state.

    `prepare` is run once; each trial begins with a copy of what it left.
    """

    name: str
    prepare: tuple[tuple[str, ...], ...]
    commands: tuple[tuple[str, ...], ...]


class Copies:
    """Copies of a prepared installation, each as good as the first."""

    def __init__(self, prepared: Installation, server: PostgresqlServer | None) -> None:
        self._prepared = prepared
        self._server = server
        self._numbers = itertools.count(1)

    def new(self) -> Installation:
        folder = self._prepared.folder.with_name(f"trial-{next(self._numbers)}")
        shutil.copytree(self._prepared.folder, folder)
        url = ""
        if self._server is not None:
            url = self._server.new_database(like=self._prepared.database_url)
        return Installation(folder, self._prepared.encoder, url)


def prepare(
    journey: Journey,
    folder: Path,
    encoder: Path,
    runner: Runner,
    server: PostgresqlServer | None,
) -> Copies:
    """Run what a journey begins with."""
    url = "" if server is None else server.new_database()
    prepared = Installation(folder / f"{journey.name}-prepared", encoder, url)
    for command in journey.prepare:
        runner.run_well(prepared, command)
    return Copies(prepared, server)


@dataclass(frozen=True)
class Kill:
    """Where a trial is killed: in which command, at which point or after what share of time."""

    command: int
    point: Mapping[str, Any] | None = None
    share: float | None = None


def kills(counts: Sequence[Mapping[str, int]], n_points: int, n_times: int) -> list[Kill]:
    """Choose points and times by a seed: every kind of call is among the points."""
    rng = random.Random(20261127)
    every = [
        Kill(i, {"call": call, "n": n, "side": side})
        for i, counted in enumerate(counts)
        for call, total in sorted(counted.items())
        for n in range(1, total + 1)
        for side in ("before", "after")
    ]
    rng.shuffle(every)
    kinds = {(k.command, k.point["call"], k.point["side"]): k for k in every if k.point}
    chosen = [*kinds.values(), *(k for k in every if k not in kinds.values())][:n_points]
    times = [
        Kill(rng.randrange(len(counts)), share=rng.uniform(0.02, 0.98)) for _ in range(n_times)
    ]
    return chosen + times


@dataclass(frozen=True)
class Trial:
    """One killed journey that was walked again from its beginning."""

    kill: Kill
    was_killed: bool
    end_state: EndState


def try_kills(
    journey: Journey,
    copies: Copies,
    wanted: Sequence[Kill],
    undisturbed: Sequence[Ended],
    workers: Sequence[Runner],
) -> list[Trial]:
    """Run every trial, some beside each other."""
    free = list(workers)

    def attempt(kill: Kill) -> Trial:
        runner = free.pop()
        try:
            return _tried(journey, copies.new(), kill, undisturbed, runner)
        finally:
            free.append(runner)

    with ThreadPoolExecutor(len(workers)) as pool:
        return list(pool.map(attempt, wanted))


def _tried(
    journey: Journey,
    installation: Installation,
    kill: Kill,
    undisturbed: Sequence[Ended],
    runner: Runner,
) -> Trial:
    for command in journey.commands[: kill.command]:
        runner.run_well(installation, command)
    after_s = None if kill.share is None else kill.share * undisturbed[kill.command].seconds
    ended = runner.run(
        installation, journey.commands[kill.command], point=kill.point, after_s=after_s
    )
    assert ended.status in {0, KILLED}, runner.log.read_text()[-3000:]
    for command in journey.commands:
        runner.run_well(installation, command)
    trial = Trial(kill, ended.status == KILLED, installation.end_state())
    shutil.rmtree(installation.folder)
    return trial
