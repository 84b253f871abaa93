"""Kill -9 at random points of import, index build, switch and erase: it ends as if undisturbed."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.durability.killing import Journey, a_source, kills, prepare, runners, try_kills
from tests.servers.postgresql import PostgresqlServer
from tests.unit.models.tiny_encoder import tiny_encoder

COLLECTION = "covid-chestxray-dataset"  # namespace of its patient numbers


def importing(folder: Path) -> Journey:
    """An import on top of two earlier ones: it builds a generation, and removes the oldest."""
    sources = [str(a_source(folder / f"source-{n}", n)) for n in (3, 6, 14)]
    first, second, third = [("library", "import", source) for source in sources]
    return Journey("import", (("init",), first, second), (third,))


def building(folder: Path) -> Journey:
    """Cases without vectors, then embedding and index as a command of its own."""
    sources = [str(a_source(folder / f"source-{n}", n)) for n in (4, 9)]
    first, second = [("library", "import", source) for source in sources]
    return Journey("index", (("init",), first, (*second, "--no-index")), (("library", "index"),))


def erasing(folder: Path) -> Journey:
    """A patient with two films, out of a library with two generations."""
    sources = [str(a_source(folder / f"source-{n}", n)) for n in (4, 9)]
    first, second = [("library", "import", source) for source in sources]
    erase = ("library", "erase", "--patient", COLLECTION, "2", "--approver", "A. Person")
    return Journey("erase", (("init",), first, second), (erase,))


JOURNEYS: dict[str, Callable[[Path], Journey]] = {
    "import": importing,
    "index": building,
    "erase": erasing,
}


@pytest.mark.parametrize(
    ("journey_name", "backend", "n_points", "n_times"),
    [
        pytest.param("import", "sqlite", 20, 4, id="import-sqlite"),
        pytest.param("index", "sqlite", 8, 2, id="index-sqlite"),
        pytest.param("erase", "sqlite", 10, 2, id="erase-sqlite"),
        pytest.param("import", "postgresql", 5, 1, id="import-postgresql"),
        pytest.param("erase", "postgresql", 4, 0, id="erase-postgresql"),
    ],
)
def test_journey_when_killed_anywhere_and_run_again_ends_as_if_undisturbed(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    journey_name: str,
    backend: str,
    n_points: int,
    n_times: int,
) -> None:
    server: PostgresqlServer | None = None
    if backend == "postgresql":
        server = request.getfixturevalue("postgresql")
    journey = JOURNEYS[journey_name](tmp_path)
    encoder = tiny_encoder(tmp_path / "encoder")
    with runners(tmp_path) as workers:
        copies = prepare(journey, tmp_path, encoder, workers[0], server)
        whole = copies.new()
        undisturbed = [workers[0].run_well(whole, command) for command in journey.commands]
        expected = whole.end_state()
        wanted = kills([ended.counts for ended in undisturbed], n_points, n_times)
        trials = try_kills(journey, copies, wanted, undisturbed, workers)
    assert expected.is_index_complete
    assert len(trials) == n_points + n_times
    for trial in trials:
        assert trial.was_killed or trial.kill.point is None, trial.kill
        assert trial.end_state == expected, trial.kill


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_importers_when_two_run_at_once_double_nothing_and_both_end_well(
    tmp_path: Path, request: pytest.FixtureRequest, backend: str
) -> None:
    server: PostgresqlServer | None = None
    if backend == "postgresql":
        server = request.getfixturevalue("postgresql")
    journey = importing(tmp_path)
    encoder = tiny_encoder(tmp_path / "encoder")
    with runners(tmp_path) as workers:
        copies = prepare(journey, tmp_path, encoder, workers[0], server)
        alone, shared = copies.new(), copies.new()
        workers[0].run_well(alone, journey.commands[0])
        with ThreadPoolExecutor(len(workers)) as pool:
            ended = list(pool.map(lambda one: one.run_well(shared, journey.commands[0]), workers))
        assert [one.status for one in ended] == [0, 0]
        assert shared.end_state() == alone.end_state()


def test_processes_when_killed_leave_no_decoder_behind(tmp_path: Path) -> None:
    """The decoding child ends with its parent, however that ended."""
    journey = importing(tmp_path)
    encoder = tiny_encoder(tmp_path / "encoder")
    with runners(tmp_path) as workers:
        copies = prepare(journey, tmp_path, encoder, workers[0], None)
        point = {"call": "link", "n": 2, "side": "after"}
        installation = copies.new()
        assert workers[0].run(installation, journey.commands[0], point=point).status == -9
        workers[0].run_well(installation, journey.commands[0])
    left = [p for p in Path("/proc").glob("[0-9]*") if _mentions(p, str(installation.folder))]
    assert left == []


def _mentions(process: Path, text: str) -> bool:
    if process.name == str(os.getpid()):
        return False
    try:
        return text.encode() in (process / "environ").read_bytes()
    except OSError:
        return False
