"""Index files that are damaged, missing or replaced: never opened, said in words, built anew."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cds.adapters import graph_building
from cds.adapters.generations import MANIFEST, PASSPORT, VECTORS, GenerationFolder
from cds.adapters.graph_building import build_graph
from cds.adapters.usearch_index import UsearchIndex
from cds.adapters.writer_lock import WriterLock
from cds.domain.errors import CdsError, Reason
from tests.builders.background import wait_for_repairs
from tests.builders.indexed_library import IndexedLibrary, an_indexed_library

FLIPS = Path(__file__).parent / "flipped_bytes.py"


@pytest.fixture
def indexed(tmp_path: Path) -> Iterator[IndexedLibrary]:
    with an_indexed_library(tmp_path, "") as made:
        made.add(range(20))
        made.upkeep.build()
        yield made


def current_folder(indexed: IndexedLibrary) -> Path:
    generation_id = indexed.generations.current_id()
    assert generation_id is not None
    return indexed.index_folder / generation_id


def truncate(folder: Path) -> None:
    content = (folder / VECTORS).read_bytes()
    (folder / VECTORS).write_bytes(content[: len(content) // 2])


def empty_passport(folder: Path) -> None:
    (folder / PASSPORT).write_bytes(b"")


def drop_a_file(folder: Path) -> None:
    (folder / VECTORS).unlink()


def drop_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def forget_a_file_in_the_manifest(folder: Path) -> None:
    digests = json.loads((folder / MANIFEST).read_text())
    del digests[VECTORS]
    (folder / MANIFEST).write_text(json.dumps(digests))


def list_in_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[]")


def drop_everything(folder: Path) -> None:
    shutil.rmtree(folder)


DAMAGES = [
    truncate,
    empty_passport,
    drop_a_file,
    drop_the_manifest,
    forget_a_file_in_the_manifest,
    list_in_the_manifest,
    drop_everything,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
def test_index_when_damaged_is_refused_and_built_anew_from_the_database(
    indexed: IndexedLibrary, tmp_path: Path, damage
) -> None:
    sound = indexed.generations.current_id()
    damage(current_folder(indexed))
    with an_indexed_library(tmp_path, "") as worker:
        with pytest.raises(CdsError, match="damaged") as refused:
            worker.rank(1)
        assert refused.value.reason is Reason.INDEX_UNAVAILABLE
        assert worker.upkeep.repair_if_due()
        ranking = worker.rank(1)
        assert (ranking.generation_id, ranking.eligible.n_patients) == (sound, 20)
        assert not [p for p in worker.index_folder.glob(".*") if p.is_dir()]


def test_worker_when_it_meets_damage_repairs_in_the_background(
    indexed: IndexedLibrary, tmp_path: Path
) -> None:
    drop_everything(current_folder(indexed))
    with an_indexed_library(tmp_path, "") as worker:
        worker.library.tell_trouble(worker.upkeep.repair_in_background)
        with pytest.raises(CdsError):
            worker.rank(1)
        wait_for_repairs()
        assert worker.rank(1).eligible.n_patients == 20


def test_pointer_when_it_names_nothing_is_refused_and_repaired(indexed: IndexedLibrary) -> None:
    sound = indexed.generations.current_id()
    indexed.generations.switch("0" * 16)
    with pytest.raises(CdsError, match="damaged"):
        indexed.rank(1)
    assert indexed.upkeep.repair_if_due()
    assert indexed.generations.current_id() == sound


def test_reader_when_its_generation_is_removed_goes_on_with_what_it_has_open(
    indexed: IndexedLibrary,
) -> None:
    """Mapped files live as long as somebody maps them, whatever their folder lists."""
    open_one = GenerationFolder(indexed.index_folder).open_current()
    before = open_one.table.vectors.copy()
    shutil.rmtree(current_folder(indexed))
    indexed.add(range(100, 140))
    indexed.upkeep.build(kept=1)
    assert np.array_equal(open_one.table.vectors, before)
    positions, _ = open_one.index.search(before[3], cutoff=1)
    assert positions.tolist() == [3]


def test_generations_when_many_were_built_do_not_pile_up(indexed: IndexedLibrary) -> None:
    for number in range(100, 104):
        indexed.add([number])
        indexed.upkeep.build()
    folders = [p for p in indexed.index_folder.iterdir() if p.is_dir()]
    assert len(folders) == 2
    assert indexed.rank(103).eligible.n_patients == 24


def test_readers_when_generations_are_switched_under_them_never_fail(
    indexed: IndexedLibrary, tmp_path: Path
) -> None:
    failures: list[BaseException] = []
    is_over = threading.Event()

    def read(worker: IndexedLibrary) -> None:
        while not is_over.is_set():
            try:
                assert worker.rank(1).eligible.n_patients >= 20
            except (AssertionError, CdsError) as error:
                failures.append(error)
                return

    with an_indexed_library(tmp_path, "") as one, an_indexed_library(tmp_path, "") as two:
        readers = [threading.Thread(target=read, args=(worker,)) for worker in (one, two)]
        for reader in readers:
            reader.start()
        for number in range(100, 110):
            indexed.add([number])
            indexed.upkeep.build(kept=1)
        is_over.set()
        for reader in readers:
            reader.join()
        assert failures == []
        assert one.rank(1).eligible.n_patients == two.rank(1).eligible.n_patients == 30


def test_bytes_when_flipped_anywhere_are_caught_before_the_graph_is_opened(tmp_path: Path) -> None:
    """Fifty flipped bytes crash USearch in most files: the trials run in a process of their own."""
    command = [sys.executable, str(FLIPS), str(tmp_path), "60"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, (ended.returncode, ended.stderr[-2000:])
    assert json.loads(ended.stdout) == {"trials": 60, "caught": 60, "opened_when_sound": True}


def test_graph_when_it_misses_the_recall_is_tried_otherwise_and_then_refused(
    tmp_path: Path,
) -> None:
    vectors = np.random.default_rng(0).normal(size=(400, 24)).astype(np.float32)
    file = tmp_path / "graph"
    refused = build_graph(vectors, file, exact_up_to=100, min_recall=1.1)
    assert refused.is_refused
    assert refused.recall_at_10 is not None
    assert not file.exists()
    built = build_graph(vectors, file, exact_up_to=100)
    assert not built.is_refused
    assert (built.recall_at_10 or 0.0) >= graph_building.MIN_RECALL
    assert file.exists()
    assert build_graph(vectors, tmp_path / "none").recall_at_10 is None


def test_graph_when_built_with_wider_parameters_is_viewed_as_it_was_built(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 24)).astype(np.float32)
    wide = UsearchIndex.build(vectors, parameters=graph_building.ATTEMPTS[-1])
    wide.save(tmp_path / "graph")
    viewed = UsearchIndex.view(tmp_path / "graph", vectors, expansion_search=64)
    wide.set_expansion(64)
    for query in vectors[:20]:
        assert (
            viewed.search(query, cutoff=5)[0].tolist() == wide.search(query, cutoff=5)[0].tolist()
        )


def test_index_when_its_disk_is_full_keeps_the_present_one(
    indexed: IndexedLibrary,
) -> None:
    """A file-size limit ends the write in the middle, as a full disk does."""
    sound = indexed.generations.current_id()
    indexed.add([100])
    child = multiprocessing.get_context("fork").Process(
        target=_build_with_small_files, args=(indexed.settings.state_dir,)
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert indexed.generations.current_id() == sound
    assert not list(indexed.index_folder.glob(".[0-9a-f]*"))
    assert indexed.rank(100).eligible.n_patients == 21  # from the delta
    indexed.upkeep.build()
    assert indexed.generations.current_id() != sound


def _build_with_small_files(folder: Path) -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with an_indexed_library(folder, "") as worker:
        worker.rank(1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
        try:
            worker.upkeep.build()
        except CdsError as error:
            is_named = error.reason is Reason.STORAGE_UNAVAILABLE and "full" in error.sentence
            os._exit(0 if is_named else 4)
        os._exit(3)


def test_writers_when_two_want_to_build_take_turns(indexed: IndexedLibrary, tmp_path: Path) -> None:
    with an_indexed_library(tmp_path, "") as other:
        lock = WriterLock(indexed.index_folder, indexed.storage.engine)
        with lock.held():
            with pytest.raises(CdsError, match="Another process"):
                other.upkeep.build(wait_s=0)
            assert not other.upkeep.repair_if_due()
        assert other.upkeep.build(wait_s=0).n_cases == 20


def test_writers_when_they_share_a_postgresql_take_turns_wherever_their_folders_are(
    tmp_path: Path, postgresql
) -> None:
    url = postgresql.new_database()
    with an_indexed_library(tmp_path / "a", url) as one:
        one.add(range(5))
        shutil.copy(tmp_path / "a" / "key.json", tmp_path / "key.json")
        (tmp_path / "b").mkdir()
        shutil.copy(tmp_path / "a" / "key.json", tmp_path / "b" / "key.json")
        with an_indexed_library(tmp_path / "b", url) as other:
            lock = WriterLock(one.index_folder, one.storage.engine)
            with lock.held(), pytest.raises(CdsError, match="Another process"):
                other.upkeep.build(wait_s=0)
            assert other.upkeep.build(wait_s=0).n_cases == 5


def test_lock_when_its_holder_is_killed_is_free(indexed: IndexedLibrary) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with WriterLock(indexed.index_folder, indexed.storage.engine).held():
            os.write(writing, b"held")
            signal.pause()
        os._exit(0)
    assert os.read(reading, 4) == b"held"
    with pytest.raises(CdsError, match="Another process"):
        indexed.upkeep.build(wait_s=0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert indexed.upkeep.build(wait_s=0).n_cases == 20
