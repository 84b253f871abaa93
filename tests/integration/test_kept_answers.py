"""An answer that is computed again is the same answer; one that was shown is kept."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cds.adapters.result_life import SqlResultLives
from cds.adapters.result_store import SqlResultStore
from cds.adapters.storage import Storage, initialise, open_storage
from cds.domain.errors import CdsError
from cds.domain.report import AnswerState
from cds.domain.withdrawal import ResultBinding
from cds.settings import Settings
from tests.builders.answers import NOW, REPORT_ID, a_case_report
from tests.fakes.clock import FixedClock


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def storage(tmp_path: Path, database_url: str, clock: FixedClock) -> Iterator[Storage]:
    settings = Settings(state_dir=tmp_path, database_url=database_url)
    initialise(settings)
    opened = open_storage(settings, clock)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def results(storage: Storage) -> SqlResultStore:
    return storage.results


@pytest.fixture
def lives(storage: Storage, clock: FixedClock) -> SqlResultLives:
    return SqlResultLives(storage.engine, storage.cipher, storage.keys, clock)


def test_save_when_the_same_answer_is_computed_later_keeps_the_first(
    results: SqlResultStore,
) -> None:
    first = a_case_report()
    results.save(first, requested_by="hook")
    later = NOW + timedelta(hours=1)
    results.save(a_case_report(created_at=later, data_at=later), requested_by="hook")
    assert results.by_id(first.ehr_id, REPORT_ID) == first


def test_save_when_another_answer_has_the_id_is_refused(results: SqlResultStore) -> None:
    results.save(a_case_report(), requested_by="hook")
    with pytest.raises(CdsError):
        results.save(a_case_report(state=AnswerState.NOT_ASSESSED), requested_by="hook")


@pytest.mark.parametrize("shown_by", [None, "opened", "fhir"])
def test_precomputed_answer_is_deleted_in_time_unless_it_was_shown(
    results: SqlResultStore, lives: SqlResultLives, clock: FixedClock, shown_by: str | None
) -> None:
    """Whoever reads an answer by the FHIR API was shown it, without a call of ours behind it."""
    report = a_case_report()
    results.save(report, requested_by="arrival")
    lives.bind(report, ResultBinding("h" * 64, fingerprint="f" * 64, is_precomputed=True))
    if shown_by == "opened":
        lives.mark_opened(report)
    elif shown_by is not None:
        lives.note_view(report.ehr_id, report.report_id, viewer="Practitioner/1", door=shown_by)
    assert lives.delete_unopened(older_than=timedelta(hours=1)) == 0  # too young
    clock.advance(timedelta(hours=2))
    assert lives.delete_unopened(older_than=timedelta(hours=1)) == (shown_by is None)
    assert (results.by_id(report.ehr_id, REPORT_ID) is None) == (shown_by is None)
    assert (lives.binding_of(report) is None) == (shown_by is None)
