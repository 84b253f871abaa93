"""Two encoders over one library: side by side, rolled out, rolled back, and never mixed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from cds.adapters.case_library import ANOTHER_ENCODER
from cds.adapters.encoder_generations import EncoderGenerations, ServingPointer
from cds.adapters.generations import CURRENT, INDEX_FOLDER, PASSPORT
from cds.domain.errors import CdsError, Reason
from cds.engine import Engine, engine_from_settings
from models.encoder_registry import STORE_FOLDER
from tests.builders.two_encoders import (
    NEW,
    OLD,
    a_question,
    add_encoder,
    answer,
    index,
    settings_of,
    two_encoders,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_encoders(tmp_path_factory.mktemp("installation"))


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """A copy of the installation, for each test its own."""
    shutil.copytree(prepared, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    opened = engine_from_settings(settings_of(folder))
    yield opened
    opened.storage.engine.dispose()


def _encoder_of(given: dict[str, object]) -> object:
    versions = given["versions"]
    assert isinstance(versions, dict)
    return versions["encoder_name"]


def test_encoders_when_both_have_an_index_answer_side_by_side(engine: Engine) -> None:
    first, second = answer(engine), answer(engine, NEW)
    assert (_encoder_of(first), _encoder_of(second)) == (OLD, NEW)
    assert first["versions"] != second["versions"]
    assert first["best_similarity"] != second["best_similarity"]


def test_index_of_another_encoder_when_built_leaves_the_serving_one(engine: Engine) -> None:
    before = answer(engine)
    index(engine, NEW)
    assert answer(engine) == before


def test_encoder_without_an_index_when_asked_refuses_the_others(
    engine: Engine, folder: Path
) -> None:
    add_encoder(folder, "third", seed=5)
    with pytest.raises(CdsError) as refused:
        engine.encoders.named("third").analyst.for_pictures(a_question(engine))
    assert refused.value.facts["trouble"] == ANOTHER_ENCODER


def test_switch_when_made_changes_every_process_at_its_next_call_and_back_again(
    engine: Engine, folder: Path
) -> None:
    other_worker = engine_from_settings(settings_of(folder))
    before, expected = answer(other_worker), answer(engine, NEW)
    held = other_worker.analyst

    engine.encoders.named(NEW).generations.serve()
    assert answer(other_worker) == expected
    assert expected["input_hash"] != before["input_hash"]  # an old answer is not found again
    under_way = asdict(held.for_pictures(a_question(other_worker)))
    assert under_way["versions"] == before["versions"]
    assert under_way["best_similarity"] == before["best_similarity"]

    engine.encoders.named(OLD).generations.serve()
    assert answer(other_worker) == before
    other_worker.storage.engine.dispose()


def test_answers_when_the_encoder_is_switched_to_and_fro_are_never_mixed(
    engine: Engine, folder: Path
) -> None:
    worker = engine_from_settings(settings_of(folder))
    whole = {
        str(a["versions"]): a["best_similarity"] for a in (answer(engine), answer(engine, NEW))
    }
    done = threading.Event()

    def switch() -> None:
        for name in [NEW, OLD] * 40:
            engine.encoders.named(name).generations.serve()
        done.set()

    thread = threading.Thread(target=switch)
    thread.start()
    seen: set[str] = set()
    while not done.is_set() or not seen:
        given = answer(worker)
        seen.add(str(given["versions"]))
        assert whole[str(given["versions"])] == given["best_similarity"]
    thread.join()
    worker.storage.engine.dispose()


def test_serving_encoder_when_it_is_missing_is_refused_and_no_other_steps_in(
    engine: Engine, folder: Path
) -> None:
    engine.encoders.named(NEW).generations.serve()
    (folder / "state" / STORE_FOLDER / NEW / "model.onnx").write_bytes(b"changed")
    with pytest.raises(CdsError) as refused:
        engine_from_settings(settings_of(folder))
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


def test_serving_generation_when_its_passport_is_damaged_is_not_answered_by_the_old_encoder(
    engine: Engine, folder: Path
) -> None:
    generation = engine.encoders.named(NEW).generations.serve()
    (folder / "state" / INDEX_FOLDER / generation / PASSPORT).write_text("{")
    later = engine_from_settings(settings_of(folder))
    assert later.embedder.encoder_name == NEW
    with pytest.raises(CdsError) as refused:
        answer(later)
    assert refused.value.reason is Reason.INDEX_UNAVAILABLE
    later.storage.engine.dispose()


def test_build_of_the_old_encoder_when_another_was_rolled_out_does_not_take_over(
    engine: Engine,
) -> None:
    old = engine.encoders.serving()
    engine.encoders.named(NEW).generations.serve()
    old.upkeep.build()
    assert _encoder_of(answer(engine)) == NEW


def test_generations_when_one_encoder_builds_often_keep_the_other_ones(engine: Engine) -> None:
    second = answer(engine, NEW)
    for _ in range(3):
        engine.storage.embeddings.add_embeddings(engine.embedder.encoder_hash, {})
        engine.upkeep.build(kept=2)
    assert answer(engine, NEW) == second


def test_pointer_of_an_earlier_version_is_read_by_its_passport(folder: Path) -> None:
    index_folder = folder / "state" / INDEX_FOLDER
    generation, encoder = ServingPointer(index_folder).read()
    assert generation is not None
    (index_folder / CURRENT).write_text(generation)
    assert ServingPointer(index_folder).read() == (generation, encoder)
    assert json.loads((index_folder / generation / PASSPORT).read_text())["encoder_hash"] == encoder


# Every call that changes a file, in the order of `serve`: killed before or after each.
_KILLED = """
import os, sys
from pathlib import Path
from cds.adapters.encoder_generations import EncoderGenerations
n, count = int(sys.argv[3]), 0
def counted(real):
    def call(*arguments, **options):
        global count
        count += 1
        if count == n:
            os._exit(9)
        done = real(*arguments, **options)
        count += 1
        if count == n:
            os._exit(9)
        return done
    return call
for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (os, "open")):
    setattr(owner, name, counted(getattr(owner, name)))
EncoderGenerations(Path(sys.argv[1]), sys.argv[2]).serve()
print("done")
"""


def test_switch_when_killed_anywhere_serves_old_or_new_and_a_second_call_ends_it(
    prepared: Path, tmp_path: Path
) -> None:
    engine = engine_from_settings(settings_of(prepared))
    hashes = {engine.embedder.encoder_hash, engine.encoders.named(NEW).embedder.encoder_hash}
    new = engine.encoders.named(NEW).embedder.encoder_hash
    whole = [answer(engine), answer(engine, NEW)]
    engine.storage.engine.dispose()
    seen: set[str | None] = set()
    for n in range(1, 60):
        copy = tmp_path / str(n)
        shutil.copytree(prepared, copy)
        index_folder = copy / "state" / INDEX_FOLDER
        command = [sys.executable, "-c", _KILLED, str(index_folder), new, str(n)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode in {0, 9}, ended.stderr
        generation, encoder = ServingPointer(index_folder).read()
        assert encoder in hashes
        assert EncoderGenerations(index_folder, str(encoder)).current_id() == generation
        if n % 4 == 0:
            opened = engine_from_settings(settings_of(copy))
            assert answer(opened) in whole
            opened.storage.engine.dispose()
        seen.add(encoder)
        EncoderGenerations(index_folder, new).serve()
        assert ServingPointer(index_folder).read()[1] == new
        if ended.returncode == 0:
            break
        shutil.rmtree(copy)
    assert n > 10
    assert seen == hashes


def test_vectors_of_two_encoders_are_kept_apart(engine: Engine) -> None:
    first = engine.storage.embeddings.embeddings(engine.embedder.encoder_hash)
    second = engine.storage.embeddings.embeddings(engine.encoders.named(NEW).embedder.encoder_hash)
    assert first.keys() == second.keys()
    assert not any(np.allclose(first[p], second[p]) for p in first)
