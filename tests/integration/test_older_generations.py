"""An index of an older format answers as it did, and is built anew without being asked."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from cds.adapters.generations import MANIFEST, PASSPORT
from cds.adapters.sql.library_log import SqlLibraryLog
from cds.domain.generation import PASSPORT_FORMAT
from tests.builders.indexed_library import NOW, IndexedLibrary, an_indexed_library

OLD_ID = "0123456789abcdef"
OLD_LIMIT = 0.4
LATER_FIELDS = ("group_limits", "format_version")


def rewrite_as_format_1(indexed: IndexedLibrary) -> None:
    """Leave the current generation as a version before the groups of limits wrote it."""
    current = indexed.index_folder / str(indexed.generations.current_id())
    folder = current.rename(indexed.index_folder / OLD_ID)
    entries = json.loads((folder / PASSPORT).read_text())
    entries |= {"generation_id": OLD_ID, "image_limit": OLD_LIMIT}
    old = json.dumps({name: v for name, v in entries.items() if name not in LATER_FIELDS})
    digests = json.loads((folder / MANIFEST).read_text())
    digests[PASSPORT] = sha256(old.encode()).hexdigest()
    (folder / PASSPORT).write_text(old)
    (folder / MANIFEST).write_text(json.dumps(digests))
    indexed.storage.embeddings.add_generation(
        OLD_ID,
        passport_json=old,
        folder=str(folder),
        created_at=NOW,
        base_sequence=SqlLibraryLog(indexed.storage.engine).head().sequence,
    )
    indexed.generations.switch(OLD_ID)


def an_old_library(folder: Path) -> None:
    with an_indexed_library(folder, "") as indexed:
        indexed.add(range(50))
        indexed.upkeep.build()
        rewrite_as_format_1(indexed)


def test_generation_of_format_1_answers_with_its_one_limit(tmp_path: Path) -> None:
    an_old_library(tmp_path)
    with an_indexed_library(tmp_path, "") as indexed:
        ranking = indexed.rank(1)
        assert ranking.similarity_limit == OLD_LIMIT
        assert ranking.eligible.n_patients == 50


def test_generation_of_format_1_is_built_anew_by_upkeep(tmp_path: Path) -> None:
    an_old_library(tmp_path)
    with an_indexed_library(tmp_path, "") as indexed:
        told = []
        indexed.library.tell_trouble(lambda: told.append(True))
        indexed.rank(1)
        assert told
        assert indexed.upkeep.present() is None  # so that a build that is only due builds
        assert indexed.upkeep.repair_if_due()
        passport = indexed.library.view().passport
        assert passport.format_version == PASSPORT_FORMAT
        assert indexed.rank(1).similarity_limit == passport.group_limits[0].limit != OLD_LIMIT
        told.clear()
        indexed.rank(1)
        assert not told
        assert not indexed.upkeep.repair_if_due()


def test_reader_with_the_old_format_open_takes_the_new_one(tmp_path: Path) -> None:
    an_old_library(tmp_path)
    with an_indexed_library(tmp_path, "") as reader:
        assert reader.rank(1).similarity_limit == OLD_LIMIT
        with an_indexed_library(tmp_path, "") as writer:
            assert writer.upkeep.repair_if_due()
        assert reader.rank(1).similarity_limit != OLD_LIMIT
