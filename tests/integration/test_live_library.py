"""Cases that came or went since the index was built: seen at once, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from cds.adapters.sql.engine import upgrade_to_head
from cds.adapters.sql.library_triggers import WATCHED, drop_triggers
from cds.domain.errors import CdsError, Reason
from cds.domain.ranking import Ranking
from tests.builders.indexed_library import (
    ELIGIBLE,
    IndexedLibrary,
    a_query,
    an_indexed_library,
    case_id_of,
    perceptual_hash_of,
)


@pytest.fixture
def indexed(tmp_path: Path, database_url: str) -> Iterator[IndexedLibrary]:
    with an_indexed_library(tmp_path, database_url) as made:
        made.add(range(20))
        made.upkeep.build()
        yield made


def ids(ranking: Ranking) -> list[str]:
    return [hit.case.case_id for hit in ranking.hits]


def essence(ranking: Ranking) -> tuple[object, ...]:
    """What a clinician sees of a ranking, without the index's own name."""
    similarities = [round(hit.similarity, 5) for hit in ranking.hits]
    return ids(ranking), similarities, ranking.eligible, ranking.n_library_patients


def test_case_when_added_after_the_build_is_found_and_counted_at_once(
    indexed: IndexedLibrary,
) -> None:
    assert ids(indexed.rank(100, cutoff=1)) != [case_id_of(100)]
    indexed.add([100])
    ranking = indexed.rank(100)
    assert ids(ranking)[0] == case_id_of(100)
    assert ranking.best_similarity == pytest.approx(1.0, abs=1e-5)
    assert ranking.eligible.n_patients == ranking.n_library_patients == 21
    assert len(ids(ranking)) == 21


def test_case_when_deleted_after_the_build_is_gone_from_hits_and_counts(
    indexed: IndexedLibrary,
) -> None:
    assert ids(indexed.rank(7))[0] == case_id_of(7)
    indexed.delete(7)
    ranking = indexed.rank(7)
    assert case_id_of(7) not in ids(ranking)
    assert ranking.eligible.n_patients == ranking.n_library_patients == 19
    assert ranking.eligible.n_by_collection == {"collection A": 19}
    assert set(ranking.eligible.n_by_finding.values()) == {19}


def test_case_when_added_and_deleted_again_leaves_nothing(indexed: IndexedLibrary) -> None:
    indexed.add([100])
    indexed.rank(100)
    indexed.delete(100)
    ranking = indexed.rank(100)
    assert case_id_of(100) not in ids(ranking)
    assert ranking.eligible.n_patients == 20


def test_ranking_when_rebuilt_is_the_one_that_was_shown_before(indexed: IndexedLibrary) -> None:
    indexed.add([100, 101, 3000], patient_key="patient of c0002")
    indexed.delete(7, 8)
    shown = indexed.rank(5)
    rebuilt = indexed.upkeep.build()
    again = indexed.rank(5)
    assert essence(again) == essence(shown)
    assert again.generation_id == rebuilt.generation_id != shown.generation_id


def test_patient_when_known_from_before_and_from_a_new_case_counts_once(
    indexed: IndexedLibrary,
) -> None:
    indexed.add([100], patient_key="patient of c0007")
    ranking = indexed.rank(100)
    assert ranking.eligible.n_patients == 20
    keys = [hit.case.patient_key for hit in ranking.hits]
    assert len(keys) == len(set(keys)) == 20
    assert ids(ranking)[0] == case_id_of(100)


def test_eligibility_when_a_case_is_new_holds_for_it_too(indexed: IndexedLibrary) -> None:
    indexed.add([100], owner_ehr_id="another")
    indexed.add([101], patient_key="excluded")
    mine = indexed.rank(
        100, ehr_id="mine", excluded_patient_keys=frozenset({"excluded", "patient of c0003"})
    )
    assert not {case_id_of(n) for n in (100, 101, 3)} & set(ids(mine))
    assert mine.eligible.n_patients == 19


def test_copy_when_its_original_is_a_new_case_is_named_and_left_out(
    indexed: IndexedLibrary,
) -> None:
    indexed.add([100])
    copy = indexed.rank(100, perceptual_hashes=(perceptual_hash_of(100) ^ 0b11,))
    assert copy.already_in_library
    assert case_id_of(100) not in ids(copy)
    gone = indexed.rank(7, perceptual_hashes=(perceptual_hash_of(7),))
    assert gone.already_in_library
    indexed.delete(7)
    assert not indexed.rank(7, perceptual_hashes=(perceptual_hash_of(7),)).already_in_library


def test_case_when_its_facts_change_is_seen_as_it_is_now(indexed: IndexedLibrary) -> None:
    with indexed.storage.engine.begin() as connection:
        connection.execute(text("UPDATE library_case SET licence = 'CC0' WHERE case_id = 'c0007'"))
    ranking = indexed.rank(7)
    assert ids(ranking)[0] == case_id_of(7)
    assert ranking.eligible.n_patients == 20
    assert ranking.generation_id.endswith("+21")  # 20 vectors were added before


def test_workers_when_they_look_at_one_moment_name_it_alike(
    indexed: IndexedLibrary, tmp_path: Path, database_url: str
) -> None:
    indexed.rank(1)
    indexed.add([100])
    indexed.delete(3)
    with an_indexed_library(tmp_path, database_url) as other:
        mine, theirs = indexed.rank(5), other.rank(5)
    assert mine.generation_id == theirs.generation_id
    assert essence(mine) == essence(theirs)


def test_cases_when_above_the_bound_wait_while_deletions_do_not(
    tmp_path: Path, database_url: str
) -> None:
    with an_indexed_library(tmp_path, database_url, limit=5) as indexed:
        indexed.add(range(20))
        indexed.upkeep.build()
        told: list[str] = []
        indexed.library.tell_trouble(lambda: told.append("due"))
        indexed.add(range(100, 105))
        assert indexed.rank(1).eligible.n_patients == 25
        assert told == []
        indexed.add([105, 106])
        indexed.delete(3, 100)
        assert indexed.rank(1).eligible.n_patients == 23  # 19 of before, 4 new; two wait
        assert "due" in told
        assert indexed.upkeep.repair_if_due()
        assert indexed.rank(1).eligible.n_patients == 25
        assert not indexed.upkeep.repair_if_due()


def test_build_when_nothing_changed_is_not_due(indexed: IndexedLibrary) -> None:
    present = indexed.upkeep.build(only_if_due=True)
    assert present.generation_id == indexed.generations.current_id()
    assert indexed.upkeep.present() == present
    indexed.add([100])
    assert indexed.upkeep.present() is None
    assert indexed.upkeep.build(only_if_due=True).n_cases == 21


def test_index_when_it_is_of_another_state_of_the_database_is_refused_and_rebuilt(
    indexed: IndexedLibrary,
) -> None:
    """A database restored from its backup has not noted the generation that was built later."""
    with indexed.storage.engine.begin() as connection:
        connection.execute(text("DELETE FROM index_generation"))
        connection.execute(text("UPDATE library_state SET sequence = sequence + 1"))
    with pytest.raises(CdsError, match="state of the database") as refused:
        indexed.rank(1)
    assert refused.value.reason is Reason.INDEX_UNAVAILABLE
    assert indexed.upkeep.repair_if_due()
    assert indexed.rank(1).eligible.n_patients == 20


def test_generation_when_switched_back_after_an_erasure_is_refused(
    indexed: IndexedLibrary, tmp_path: Path, database_url: str
) -> None:
    before = indexed.generations.current_id()
    assert before is not None
    kept = {p.name: p.read_bytes() for p in (indexed.index_folder / before).iterdir()}
    indexed.delete(7)
    indexed.upkeep.build(kept=1)
    assert not (indexed.index_folder / before).exists()
    restored = indexed.index_folder / before
    restored.mkdir()
    for name, content in kept.items():
        (restored / name).write_bytes(content)
    indexed.generations.switch(before)
    with an_indexed_library(tmp_path, database_url) as later:
        with pytest.raises(CdsError, match="older than the library's log"):
            later.rank(7)
        assert later.upkeep.repair_if_due()
        assert case_id_of(7) not in ids(later.rank(7))


def test_generation_when_switched_back_without_pruning_still_hides_what_was_erased(
    indexed: IndexedLibrary,
) -> None:
    before = indexed.generations.current_id()
    assert before is not None
    indexed.delete(7)
    indexed.upkeep.build()
    indexed.generations.switch(before)
    ranking = indexed.rank(7)
    assert ranking.generation_id.startswith(f"{before}+")
    assert case_id_of(7) not in ids(ranking)
    assert ranking.eligible.n_patients == 19


def test_log_when_built_after_an_erasure_names_the_case_no_more(
    indexed: IndexedLibrary,
) -> None:
    indexed.delete(7)
    assert case_id_of(7) in {case_id for _, case_id in logged(indexed)}
    indexed.upkeep.build(kept=1)
    assert logged(indexed) == []
    indexed.delete(8)
    indexed.upkeep.build()
    assert case_id_of(8) in {case_id for _, case_id in logged(indexed)}  # for readers of before
    indexed.upkeep.forget_changes()
    assert logged(indexed) == []
    indexed.delete(*range(9, 20))
    (indexed.index_folder / "current").unlink()
    indexed.upkeep.forget_changes()
    assert logged(indexed) == []


def logged(indexed: IndexedLibrary) -> list[tuple[int, str]]:
    with indexed.storage.engine.connect() as connection:
        found = connection.execute(text("SELECT sequence, case_id FROM library_change"))
        return [(number, case_id) for number, case_id in found]


def test_triggers_when_lost_are_made_again_by_an_upgrade(indexed: IndexedLibrary) -> None:
    with indexed.storage.engine.begin() as connection:
        drop_triggers(connection)
    indexed.add([100])
    assert indexed.rank(100).eligible.n_patients == 20  # nobody noted it
    upgrade_to_head(indexed.storage.engine)
    upgrade_to_head(indexed.storage.engine)
    indexed.add([101])
    assert indexed.rank(101).eligible.n_patients == 21
    assert len({watched.name for watched in WATCHED}) == len(WATCHED)


def test_query_when_nothing_changed_reads_no_case(indexed: IndexedLibrary) -> None:
    indexed.add([100])
    view = indexed.library.view()
    assert indexed.library.view() is view
    assert indexed.library.rank(a_query(1), ELIGIBLE, cutoff=3).hits
    assert indexed.library.view() is view
