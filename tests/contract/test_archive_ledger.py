"""The ledger of the archives' studies on SQLite and PostgreSQL, and in memory: the same answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from cds.adapters.archive_ledger import LedgerScope, SqlArchiveLedger
from cds.adapters.crypto import FieldCipher
from cds.adapters.identity_keys import HmacIdentityKeys
from cds.adapters.sql.archive_models import ArchiveStudyRow
from cds.adapters.sql.engine import open_database, upgrade_to_head
from cds.domain.archive import ArchivedStudy, LedgerState
from cds.library.archive_ports import ArchiveLedger
from tests.fakes.archive_ledger import MemoryArchiveLedger
from tests.fakes.clock import FixedClock

KEYS = HmacIdentityKeys(b"k" * 32)
CIPHER = FieldCipher({"d1": b"c" * 32}, "d1")
MINUTE = timedelta(minutes=1)
NAMESPACE = "HOSPITAL-A"


def a_study(number: int = 1, **changes: object) -> ArchivedStudy:
    study = ArchivedStudy(
        study_instance_uid=f"1.2.826.0.1.{number}",
        patient_id_value=f"MRN-SEEDED-{number % 3}",
        issuer=NAMESPACE,
        accession_number=f"ACC-SEEDED-{number}",
        started_at=datetime(2025, 3, 10, 5, 41, tzinfo=UTC) + timedelta(hours=number),
        modalities=("DX", "SR"),
        body_part="CHEST",
        n_instances=2,
    )
    return replace(study, **changes)  # type: ignore[arg-type]  # a test's own fields


def key_of(study: ArchivedStudy) -> str:
    return KEYS.study_key(study.study_instance_uid)


@dataclass
class Desk:
    """Ledgers over one store: each `another` is an importer of its own."""

    make: Callable[[LedgerScope], ArchiveLedger]
    clock: FixedClock

    def another(self, collection: str = "site-a") -> ArchiveLedger:
        return self.make(LedgerScope(collection, "a", NAMESPACE))


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def database(tmp_path: Path, database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url or f"sqlite:///{tmp_path / 'ledger.db'}")
    upgrade_to_head(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sql_desk(database: Engine, clock: FixedClock) -> Desk:
    return Desk(lambda scope: SqlArchiveLedger(database, CIPHER, KEYS, clock, scope), clock)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, clock: FixedClock, tmp_path: Path) -> Iterator[Desk]:
    if request.param == "memory":
        rows: dict[object, object] = {}
        yield Desk(lambda scope: MemoryArchiveLedger(KEYS, clock, scope, rows), clock)
        return
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
    engine = open_database(url)
    upgrade_to_head(engine)
    yield Desk(lambda scope: SqlArchiveLedger(engine, CIPHER, KEYS, clock, scope), clock)
    engine.dispose()


@pytest.fixture
def ledger(desk: Desk) -> ArchiveLedger:
    return desk.another()


def test_study_when_seen_waits_and_is_remembered_whole(ledger: ArchiveLedger) -> None:
    entry = ledger.see(a_study())
    assert (entry.state, entry.study, entry.n_attempts) == (LedgerState.WAITING, a_study(), 0)
    assert entry == ledger.entry(a_study())
    assert ledger.entry(a_study(2)) is None
    assert ledger.tally() == {LedgerState.WAITING: 1}


def test_study_when_seen_twice_is_one_with_its_newest_facts(ledger: ArchiveLedger) -> None:
    ledger.see(a_study())
    entry = ledger.see(a_study(accession_number="ACC-NEW", n_instances=3))
    assert entry.study == a_study(accession_number="ACC-NEW", n_instances=3)
    assert ledger.tally() == {LedgerState.WAITING: 1}


def test_count_when_it_stands_still_keeps_its_first_moment(
    ledger: ArchiveLedger, desk: Desk
) -> None:
    first_at = desk.clock.now()
    assert ledger.see(a_study(), n_instances=2).unchanged_since_at == first_at
    desk.clock.advance(MINUTE)
    assert ledger.see(a_study(), n_instances=2).unchanged_since_at == first_at
    desk.clock.advance(MINUTE)
    assert ledger.see(a_study()).unchanged_since_at == first_at  # not counted
    entry = ledger.see(a_study(), n_instances=3)
    assert (entry.n_instances, entry.unchanged_since_at) == (3, first_at + 2 * MINUTE)


def test_claim_is_one_importers_until_it_gives_the_study_back(desk: Desk) -> None:
    one, other = desk.another(), desk.another()
    key = one.see(a_study()).study_key
    claim = one.claim(key, lease_s=60)
    assert claim is not None
    assert claim.until_at == desk.clock.now() + MINUTE
    assert other.claim(key, lease_s=60) is None
    assert one.claim(key, lease_s=60) is None
    assert one.mark_waiting(claim, "still arriving", retry_at=desk.clock.now() + MINUTE)
    assert other.claim(key, lease_s=60) is None
    desk.clock.advance(MINUTE)
    assert other.claim(key, lease_s=60) is not None
    entry = one.entry(a_study())
    assert entry is not None
    assert (entry.n_attempts, entry.last_reason) == (2, "still arriving")


def test_claim_of_an_importer_that_died_passes_on_and_its_own_is_void(desk: Desk) -> None:
    dead, living = desk.another(), desk.another()
    key = dead.see(a_study()).study_key
    lost = dead.claim(key, lease_s=60)
    assert lost is not None
    desk.clock.advance(MINUTE)
    taken = living.claim(key, lease_s=60)
    assert taken is not None
    assert not dead.mark_imported(lost, n_instances=2)
    assert not dead.mark_waiting(lost, "x", retry_at=desk.clock.now())
    assert not dead.mark_failed(lost, "x")
    assert dead.extend(lost, lease_s=60) is None
    assert living.mark_imported(taken, n_instances=2)
    assert living.tally() == {LedgerState.IMPORTED: 1}


def test_claim_when_extended_lasts_longer(desk: Desk) -> None:
    ledger = desk.another()
    key = ledger.see(a_study()).study_key
    claim = ledger.claim(key, lease_s=60)
    assert claim is not None
    desk.clock.advance(MINUTE / 2)
    extended = ledger.extend(claim, lease_s=60)
    assert extended is not None
    assert (extended.token, extended.until_at) == (claim.token, desk.clock.now() + MINUTE)
    desk.clock.advance(MINUTE * 0.75)
    assert desk.another().claim(key, lease_s=60) is None
    assert ledger.mark_imported(claim, n_instances=2)


def test_imported_study_is_not_taken_again_and_late_instances_show(ledger: ArchiveLedger) -> None:
    claim = ledger.claim(ledger.see(a_study(), n_instances=2).study_key, lease_s=60)
    assert claim is not None
    assert ledger.mark_imported(claim, n_instances=2)
    assert ledger.claim(claim.study_key, lease_s=60) is None
    assert ledger.due() == ()
    assert not ledger.see(a_study(), n_instances=2).has_late_instances
    entry = ledger.see(a_study(), n_instances=3)
    assert (entry.state, entry.has_late_instances) == (LedgerState.IMPORTED, True)
    ledger.reopen(entry.study_key, "late instances")
    assert [e.study for e in ledger.due()] == [a_study()]


def test_failed_study_stays_so_until_it_is_reopened(ledger: ArchiveLedger) -> None:
    claim = ledger.claim(ledger.see(a_study()).study_key, lease_s=60)
    assert claim is not None
    assert ledger.mark_failed(claim, "x" * 1000)
    assert ledger.see(a_study()).state is LedgerState.FAILED
    (failed,) = ledger.entries(LedgerState.FAILED)
    assert failed.last_reason == "x" * 300
    assert ledger.claim(claim.study_key, lease_s=60) is None
    ledger.reopen(claim.study_key, "asked for")
    (entry,) = ledger.due()
    assert (entry.n_attempts, entry.last_reason) == (0, "asked for")


def test_withdrawn_study_keeps_no_identity_and_ends_the_claim(ledger: ArchiveLedger) -> None:
    claim = ledger.claim(ledger.see(a_study()).study_key, lease_s=60)
    assert claim is not None
    ledger.withdraw(claim.study_key, "opted out")
    assert not ledger.mark_imported(claim, n_instances=2)
    entry = ledger.see(a_study(), n_instances=2)
    assert (entry.state, entry.study) == (LedgerState.WITHDRAWN, None)
    assert ledger.claim(claim.study_key, lease_s=60) is None
    ledger.reopen(claim.study_key, "opted in again")
    assert ledger.due() == ()  # until the archive lists it again
    ledger.see(a_study())
    assert [e.study for e in ledger.due()] == [a_study()]


def test_patient_when_withdrawn_takes_all_studies_along(ledger: ArchiveLedger) -> None:
    for number in range(1, 7):
        ledger.see(a_study(number))
    patient_key = KEYS.patient_key(NAMESPACE, "MRN-SEEDED-1")
    assert ledger.withdraw_patient(patient_key, "erased") == 2
    assert ledger.withdraw_patient(patient_key, "erased") == 0
    assert ledger.tally() == {LedgerState.WAITING: 4, LedgerState.WITHDRAWN: 2}


def test_due_lists_in_the_order_of_first_sight_up_to_the_limit(
    ledger: ArchiveLedger, desk: Desk
) -> None:
    for number in (5, 3, 9, 1):
        ledger.see(a_study(number))
    ledger.see(a_study(9))
    claim = ledger.claim(key_of(a_study(3)), lease_s=60)
    assert claim is not None
    assert [e.study for e in ledger.due()] == [a_study(5), a_study(9), a_study(1)]
    assert [e.study for e in ledger.due(limit=2)] == [a_study(5), a_study(9)]
    desk.clock.advance(MINUTE)
    assert [e.study for e in ledger.due(limit=2)] == [a_study(5), a_study(3)]


def test_collections_do_not_meet(desk: Desk) -> None:
    one, other = desk.another("site-a"), desk.another("site-b")
    key = one.see(a_study()).study_key
    assert other.entry(a_study()) is None
    assert other.claim(key, lease_s=60) is None
    other.withdraw(key, "x")
    other.see(a_study())
    assert one.claim(key, lease_s=60) is not None
    assert other.claim(key, lease_s=60) is not None


def test_importers_when_four_claim_at_once_share_the_studies(
    database: Engine, clock: FixedClock
) -> None:
    scope = LedgerScope("site-a", "a", NAMESPACE)
    studies = [a_study(number) for number in range(40)]
    claimed: list[list[str]] = [[] for _ in range(4)]
    start = threading.Barrier(4, timeout=30)

    def importer(number: int) -> None:
        ledger = SqlArchiveLedger(database, CIPHER, KEYS, clock, scope)
        start.wait()
        for study in studies:
            entry = ledger.see(study, n_instances=2)  # all of them see each for the first time
            claim = ledger.claim(entry.study_key, lease_s=60)
            if claim is not None:
                claimed[number].append(claim.study_key)
                assert ledger.mark_imported(claim, n_instances=2)

    threads = [threading.Thread(target=importer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for keys in claimed for key in keys) == sorted(map(key_of, studies))
    tally = SqlArchiveLedger(database, CIPHER, KEYS, clock, scope).tally()
    assert tally == {LedgerState.IMPORTED: 40}


def test_database_holds_no_identifier_in_the_clear(database: Engine, sql_desk: Desk) -> None:
    ledger = sql_desk.another()
    entry = ledger.see(a_study(), n_instances=2)
    assert "SEEDED" not in repr(entry)
    with database.connect() as connection:
        (row,) = connection.execute(select(ArchiveStudyRow.__table__)).mappings().all()
    assert (row["owner_ehr_id"], row["collection"]) == ("a", "site-a")
    assert row["study"] is not None
    for seeded in ("SEEDED", "1.2.826", "2025"):
        assert seeded not in str(dict(row))


def test_row_when_copied_to_another_study_does_not_decrypt(
    database: Engine, sql_desk: Desk
) -> None:
    ledger = sql_desk.another()
    ledger.see(a_study(1))
    ledger.see(a_study(2))
    with database.begin() as connection:
        sealed = connection.scalars(select(ArchiveStudyRow.study)).all()
        connection.execute(ArchiveStudyRow.__table__.update().values(study=sealed[0]))  # type: ignore[attr-defined]  # a Table
    with pytest.raises(Exception, match="decrypt"):
        ledger.entry(a_study(2))


def test_entries_when_many_come_in_batches_each_once(sql_desk: Desk) -> None:
    ledger = sql_desk.another()
    for number in range(23):
        ledger.see(a_study(number))
    found = [e.study for e in ledger.entries(LedgerState.WAITING)]
    assert found == [a_study(number) for number in range(23)]
