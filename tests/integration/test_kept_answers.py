"""An answer that is computed again is the same answer, whenever that is."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cds.adapters.result_store import SqlResultStore
from cds.adapters.storage import initialise, open_storage
from cds.domain.errors import CdsError
from cds.domain.report import AnswerState
from cds.settings import Settings
from tests.builders.answers import NOW, REPORT_ID, a_case_report
from tests.fakes.clock import FixedClock


@pytest.fixture
def results(tmp_path: Path, database_url: str) -> Iterator[SqlResultStore]:
    settings = Settings(state_dir=tmp_path, database_url=database_url)
    initialise(settings)
    storage = open_storage(settings, FixedClock(NOW))
    yield storage.results
    storage.engine.dispose()


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
