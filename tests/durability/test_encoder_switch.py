"""A roll-out killed at random points, and two worker processes that answer during switches."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cds.adapters.encoder_generations import ServingPointer
from cds.adapters.encoder_rollouts import SqlRollouts
from cds.adapters.generations import INDEX_FOLDER
from cds.engine import engine_from_settings
from tests.builders.two_encoders import NEW, OLD, answer, settings_of, two_encoders
from tests.durability.end_state import EndState
from tests.durability.killing import KILLED, Installation, kills, runners

N_POINTS, N_TIMES = 10, 2
WORKER = Path(__file__).with_name("answering_worker.py")
N_SWITCHES = 12


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = two_encoders(tmp_path_factory.mktemp("installation"))
    engine = engine_from_settings(settings_of(folder))
    ids = [case.case_id for case in engine.storage.catalogue.iter_cases()]
    engine.storage.engine.dispose()
    limits = {"k": 3, "cases": ids, "smallest_precision": 0.0, "largest_drop": 1.0}
    (folder / "limits.json").write_text(json.dumps(limits))
    return folder


def promoting(folder: Path) -> list[str]:
    approvers = ["--approver", "A. Person", "--approver", "B. Person"]
    return ["models", "promote", NEW, "--limits", str(folder / "limits.json"), *approvers]


def new_copy(prepared: Path, folder: Path) -> Installation:
    shutil.copytree(prepared, folder)
    return Installation(folder / "state", folder / OLD)


def end_of(installation: Installation) -> EndState:
    """The end state without the reports, whose names hold the time."""
    state = installation.end_state()
    return replace(state, files=tuple(f for f in state.files if not f.startswith("rollouts/")))


def test_promote_when_killed_anywhere_leaves_old_or_new_and_ends_when_run_again(
    prepared: Path, tmp_path: Path
) -> None:
    engine = engine_from_settings(settings_of(prepared))
    whole = {name: answer(engine, name) for name in (OLD, NEW)}
    hashes = {engine.encoders.named(n).embedder.encoder_hash: n for n in (OLD, NEW)}
    engine.storage.engine.dispose()
    with runners(tmp_path) as (runner, _):
        undisturbed = new_copy(prepared, tmp_path / "undisturbed")
        ended = runner.run_well(undisturbed, promoting(prepared))
        expected = end_of(undisturbed)
        wanted = kills([ended.counts], N_POINTS, N_TIMES)
        served = set()
        for number, kill in enumerate(wanted):
            installation = new_copy(prepared, tmp_path / f"trial-{number}")
            after_s = None if kill.share is None else kill.share * ended.seconds
            command = promoting(prepared)
            tried = runner.run(installation, command, point=kill.point, after_s=after_s)
            assert tried.status in {0, KILLED}
            assert tried.status == KILLED or kill.point is None, kill
            served.add(_serves_wholly(installation, whole, hashes))
            runner.run_well(installation, command)
            assert end_of(installation) == expected, kill
            _assert_noted(installation)
            shutil.rmtree(installation.folder.parent)
    assert served == {OLD, NEW}


def _serves_wholly(
    installation: Installation, whole: dict[str, dict[str, object]], hashes: dict[str, str]
) -> str:
    """Return the encoder that serves, after it answered just as it does undisturbed."""
    _, encoder = ServingPointer(installation.folder / INDEX_FOLDER).read()
    name = hashes[str(encoder)]
    engine = engine_from_settings(installation.settings)
    assert answer(engine) == whole[name]
    engine.storage.engine.dispose()
    return name


def _assert_noted(installation: Installation) -> None:
    engine = engine_from_settings(installation.settings)
    noted = SqlRollouts(engine.storage.engine).newest_to(engine.embedder.encoder_hash)
    assert noted is not None
    assert noted.approvers == ("A. Person", "B. Person")
    assert engine.model_change() is not None
    engine.storage.engine.dispose()


def test_two_worker_processes_during_switches_answer_wholly_old_or_wholly_new(
    prepared: Path, tmp_path: Path
) -> None:
    installation = new_copy(prepared, tmp_path / "copy")
    engine = engine_from_settings(installation.settings)
    whole = [_gist(answer(engine, name)) for name in (OLD, NEW)]
    workers = [_worker(installation) for _ in range(2)]
    try:
        for worker in workers:
            assert _next(worker) == whole[0]
        seen: list[Any] = []
        for number in range(N_SWITCHES):
            for worker in workers:
                _ask(worker)  # the answer is under way when the switch comes
            name = (NEW, OLD)[number % 2]
            engine.encoders.named(name).generations.serve()
            seen += [_read(worker) for worker in workers]
            # Whoever asks after the switch gets the encoder that serves now, from each worker.
            assert [_next(worker) for worker in workers] == [whole[(1, 0)[number % 2]]] * 2
    finally:
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.close()
            worker.wait(60)
            assert worker.stdout is not None
            worker.stdout.close()
        engine.storage.engine.dispose()
    assert all(one in whole for one in seen)


def _gist(given: dict[str, Any]) -> list[Any]:
    versions = given["versions"]
    return [
        versions["encoder_name"],
        versions["index_generation"],
        given["best_similarity"],
        given["similarity_limit"],
        [neighbor["case_id"] for neighbor in given["neighbors"]],
    ]


def _worker(installation: Installation) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, WORKER, installation.folder, installation.encoder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _ask(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


def _read(worker: subprocess.Popen[str]) -> Any:
    assert worker.stdout is not None
    return json.loads(worker.stdout.readline())


def _next(worker: subprocess.Popen[str]) -> Any:
    _ask(worker)
    return _read(worker)
