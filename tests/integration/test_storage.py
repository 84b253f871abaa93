"""Repositories over SQLite and PostgreSQL: round trips, tenancy, nothing readable at rest."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from cds.adapters.blobs import EncryptedBlobStore
from cds.adapters.crypto import create_key_ring, save_key_ring
from cds.adapters.sql.data_keys import rewrap_data_keys
from cds.adapters.sql.door_models import AuditEventRow
from cds.adapters.sql.engine import open_database
from cds.adapters.sql.erasure_models import ErasureTombstone
from cds.adapters.sql.librarian_models import OptOutRow
from cds.adapters.sql.models import Table
from cds.adapters.storage import Storage, initialise, open_storage
from cds.domain.case import LibraryCase, NewCase
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import CdsClient
from cds.domain.secrecy import SecretText
from cds.ports import AuditEvent
from cds.settings import Settings
from tests.builders.case_report import a_case_report
from tests.builders.library import SEEDED_NOTE, SEEDED_PATIENT, a_case, a_picture
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock

NOON_IN_TOKYO = datetime.fromisoformat("2026-03-01T12:00:00+09:00")


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(state_dir=tmp_path / "a state folder", database_url=database_url)


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    initialise(settings)
    opened = open_storage(settings, FixedClock(NOON_IN_TOKYO))
    yield opened
    opened.engine.dispose()


def everything_at_rest(settings: Settings) -> bytes:
    files = [p for p in settings.state_dir.rglob("*") if p.is_file() and p.name != "key.json"]
    stored = [p.read_bytes() for p in files]
    if settings.database_url:
        stored += column_values(settings.database_url)
    return b"".join(stored)


def column_values(database_url: str) -> list[bytes]:
    engine = open_database(database_url)
    with engine.connect() as connection:
        found = [
            value if isinstance(value, bytes) else str(value).encode()
            for table in Table.metadata.sorted_tables
            for row in connection.execute(table.select())
            for value in row
        ]
    engine.dispose()
    return found


def add(storage: Storage, case: LibraryCase, **notes: str) -> bool:
    hashes = [f"sha of {p.picture_id}" for p in case.pictures]
    return storage.catalogue.add_case(case, content_sha256=hashes, notes=notes)


def test_case_when_kept_comes_back_equal(storage: Storage) -> None:
    case = a_case(pictures=(a_picture("1"), a_picture("2", perceptual_hash=0, laterality="L")))
    assert add(storage, case, clinical_notes=SEEDED_NOTE)
    assert storage.catalogue.case_by_id(case.case_id) == case
    assert storage.catalogue.case_by_study(case.collection, case.study_key) == case
    assert storage.catalogue.cases([case.case_id, "none"]) == {case.case_id: case}
    assert storage.catalogue.notes_of(case.case_id) == {"clinical_notes": SEEDED_NOTE}


def test_reference_case_when_kept_needs_no_time(storage: Storage) -> None:
    case = a_case(known_at=None, is_reference=True, age_years=None)
    assert add(storage, case)
    assert storage.catalogue.case_by_id(case.case_id) == case


def test_case_when_added_again_changes_nothing(storage: Storage) -> None:
    assert add(storage, a_case())
    assert not add(storage, a_case())
    assert not add(storage, replace(a_case("other"), pictures=a_case().pictures))
    assert storage.catalogue.n_cases() == storage.catalogue.n_pictures() == 1


def test_cases_when_read_in_batches_are_all_there(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds.adapters.sql.case_catalogue.BATCH", 3)
    cases = [a_case(f"case {i:02}", patient_key=f"p{i % 4}") for i in range(8)]
    for case in cases:
        add(storage, case)
    assert list(storage.catalogue.iter_cases()) == cases
    assert len(storage.catalogue.cases([c.case_id for c in cases])) == 8
    assert storage.catalogue.n_patients() == 4
    assert storage.catalogue.n_patients_by_finding() == {"233604007": 4, "left-sided opacity": 4}


def test_pictures_when_added_later_follow_the_first(storage: Storage) -> None:
    case = a_case()
    add(storage, case)
    assert storage.catalogue.add_pictures(case.case_id, [a_picture("new")], ["sha of new"])
    assert not storage.catalogue.add_pictures(case.case_id, [a_picture("x")], ["sha of new"])
    assert not storage.catalogue.add_pictures("none", [a_picture("y")], ["sha of y"])
    found = storage.catalogue.case_by_id(case.case_id)
    assert found is not None
    assert [p.picture_id for p in found.pictures] == ["picture of case-1", "new"]
    assert storage.catalogue.has_file("sha of new")
    assert not storage.catalogue.has_file("sha of y")


def test_rejection_when_noted_twice_counts_once_and_hides_its_file(
    storage: Storage, settings: Settings
) -> None:
    storage.catalogue.start_run("r", collection="c", source_kind="table")
    for _ in range(2):
        storage.catalogue.reject("r", collection="c", file=f"{SEEDED_PATIENT}.png", reason="empty")
    assert storage.catalogue.rejections() == {"empty": 1}
    assert storage.catalogue.rejected_files() == ((f"{SEEDED_PATIENT}.png", "empty"),)
    storage.engine.dispose()
    assert SEEDED_PATIENT.encode() not in everything_at_rest(settings)


def test_embeddings_when_kept_come_back_and_are_asked_for_once(storage: Storage) -> None:
    add(storage, a_case(pictures=(a_picture("1"), a_picture("2"))))
    vector = np.random.default_rng(0).normal(size=8).astype(np.float32)
    storage.embeddings.add_embeddings("encoder", {"1": vector})
    storage.embeddings.add_embeddings("encoder", {"1": -vector, "2": vector, "gone": vector})
    assert storage.embeddings.pictures_without_embedding("encoder") == ()
    assert len(storage.embeddings.pictures_without_embedding("another")) == 2
    found = storage.embeddings.embeddings("encoder")
    assert set(found) == {"1", "2"}
    assert np.array_equal(found["1"], vector)
    assert storage.embeddings.embeddings("another") == {}


def test_generation_when_a_newer_one_is_noted_is_no_longer_current(storage: Storage) -> None:
    assert storage.embeddings.current_generation() is None
    for generation_id in ("g1", "g2", "g1"):
        storage.embeddings.add_generation(
            generation_id, passport_json="{}", folder="f", created_at=NOON_IN_TOKYO
        )
        assert storage.embeddings.current_generation() == (
            generation_id,
            NOON_IN_TOKYO.astimezone(UTC),
        )


def test_answer_when_kept_comes_back_equal_and_only_to_its_ehr(storage: Storage) -> None:
    report = a_case_report()
    storage.results.save(report, requested_by="Practitioner/1")
    storage.results.save(report, requested_by="Practitioner/2")
    assert report.patient_id is not None
    assert storage.results.by_id(report.ehr_id, report.report_id) == report
    assert storage.results.by_input_hash(report.ehr_id, report.input_hash) == report
    assert storage.results.by_patient(report.ehr_id, report.patient_id) == (report,)
    assert storage.results.by_id("other", report.report_id) is None
    assert storage.results.by_input_hash("other", report.input_hash) is None
    assert storage.results.by_patient("other", report.patient_id) == ()


def test_answers_when_several_come_newest_first(storage: Storage) -> None:
    old = a_case_report(report_id="old")
    new = replace(old, report_id="new", created_at=old.created_at + timedelta(minutes=1))
    for report in (new, old):
        storage.results.save(report, requested_by="u")
    assert old.patient_id is not None
    assert storage.results.by_patient(old.ehr_id, old.patient_id) == (new, old)
    assert storage.results.by_input_hash(old.ehr_id, old.input_hash) == new


def test_answer_when_another_has_its_id_is_refused(storage: Storage) -> None:
    report = a_case_report()
    storage.results.save(report, requested_by="u")
    with pytest.raises(CdsError) as refused:
        storage.results.save(replace(report, input_hash="b" * 64), requested_by="u")
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_registration_when_kept_comes_back_with_its_secrets(
    storage: Storage, settings: Settings
) -> None:
    registration = a_registration(
        client_secret=SecretText("seeded-client-secret"),
        pacs_password=SecretText("seeded-pacs-password"),
        cds_clients=(CdsClient("https://ehr.example.invalid", jwks_json="{}"),),
    )
    storage.registrations.save(registration)
    assert storage.registrations.by_id(registration.ehr_id) == registration
    assert storage.registrations.all() == (registration,)
    storage.engine.dispose()
    assert b"seeded-" not in everything_at_rest(settings)


def test_registration_when_iss_differs_by_a_byte_is_not_found(storage: Storage) -> None:
    registration = a_registration()
    storage.registrations.save(registration)
    assert storage.registrations.by_iss(registration.fhir_base_url) == registration
    for iss in (registration.fhir_base_url + "/", registration.fhir_base_url.upper(), ""):
        assert storage.registrations.by_iss(iss) is None


def test_registration_when_replaced_or_removed_is_current(storage: Storage) -> None:
    storage.registrations.save(a_registration())
    storage.registrations.save(a_registration(name="New name"))
    assert [r.name for r in storage.registrations.all()] == ["New name"]
    with pytest.raises(CdsError, match="Another EHR"):
        storage.registrations.save(a_registration(ehr_id="b"))
    storage.registrations.remove("a")
    storage.registrations.remove("a")
    assert storage.registrations.by_id("a") is None


@pytest.mark.parametrize("ehr_id", ["", "A", "a/b", "a" * 41, "ä"])
def test_registration_when_id_is_no_url_segment_is_refused(storage: Storage, ehr_id: str) -> None:
    with pytest.raises(CdsError, match="EHR id"):
        storage.registrations.save(a_registration(ehr_id=ehr_id))


def test_audit_when_recorded_is_kept_with_its_time(storage: Storage) -> None:
    event = AuditEvent("a", "case.viewed", "success", who="u", entity="e", detail="d" * 2000)
    storage.audit.record(event)
    storage.audit.record(AuditEvent("b", "login", "success"))
    assert storage.audit.newest("a") == (replace(event, detail="d" * 1000),)
    with storage.engine.connect() as connection:
        noted_at = connection.scalar(select(func.min(AuditEventRow.at)))
    assert noted_at == datetime(2026, 3, 1, 3, tzinfo=UTC)


def test_blob_when_kept_comes_back_and_is_named_by_its_content(
    storage: Storage, settings: Settings
) -> None:
    content = SEEDED_NOTE.encode() * 10
    key = storage.blobs.put(content)
    assert storage.blobs.put(content) == key
    assert storage.blobs.get(key) == content
    assert SEEDED_NOTE.encode() not in everything_at_rest(settings)
    storage.blobs.delete(key)
    storage.blobs.delete(key)
    with pytest.raises(CdsError) as refused:
        storage.blobs.get(key)
    assert refused.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("key", ["", "../../key.json", "A" * 64, "0" * 64])
def test_blob_when_key_is_unknown_or_none_is_not_found(storage: Storage, key: str) -> None:
    with pytest.raises(CdsError) as refused:
        storage.blobs.get(key)
    assert refused.value.reason is Reason.NOT_FOUND


def test_blob_when_swapped_for_another_is_refused(storage: Storage, settings: Settings) -> None:
    one, other = storage.blobs.put(b"one"), storage.blobs.put(b"other")
    folder = settings.state_dir / "blobs"
    (folder / one[:2] / one).write_bytes((folder / other[:2] / other).read_bytes())
    with pytest.raises(CdsError):
        storage.blobs.get(one)


def test_blobs_when_url_is_no_folder_work_alike(storage: Storage) -> None:
    blobs = EncryptedBlobStore("memory://library-test", storage.cipher, b"n" * 32)
    key = blobs.put(b"picture")
    assert blobs.get(key) == b"picture"
    blobs.delete(key)
    with pytest.raises(CdsError):
        blobs.get(key)


def test_files_when_filled_hold_nothing_readable(storage: Storage, settings: Settings) -> None:
    case = a_case(patient_key=storage.keys.patient_key("mrn", SEEDED_PATIENT), report_text="Seeded")
    add(storage, case, clinical_notes=SEEDED_NOTE, date="2020-01-06")
    storage.results.save(
        a_case_report(patient_id=SEEDED_PATIENT, abstention=SEEDED_NOTE), requested_by="u"
    )
    storage.engine.dispose()
    at_rest = everything_at_rest(settings)
    for seeded in (SEEDED_PATIENT, SEEDED_NOTE, "Seeded", "2020-01-06", "COPD", "1988-5"):
        assert seeded.encode() not in at_rest, seeded


def test_installation_when_initialised_again_keeps_its_data(
    storage: Storage, settings: Settings
) -> None:
    add(storage, a_case())
    initialise(settings)
    again = open_storage(settings)
    assert again.catalogue.case_by_id("case-1") == a_case()
    again.engine.dispose()


def test_installation_when_key_is_lost_refuses_to_make_a_new_one(
    storage: Storage, settings: Settings
) -> None:
    settings.effective_key_file.unlink()
    for attempt in (initialise, open_storage):
        with pytest.raises(CdsError) as refused:
            attempt(settings)
        assert refused.value.reason is Reason.INVALID_CONFIGURATION
    assert not settings.effective_key_file.exists()


def test_installation_when_key_is_another_ones_is_refused(
    storage: Storage, settings: Settings
) -> None:
    settings.effective_key_file.unlink()
    create_key_ring(settings.effective_key_file)
    with pytest.raises(CdsError, match="lacks master key"):
        open_storage(settings)


def test_installation_when_not_initialised_names_the_command(settings: Settings) -> None:
    with pytest.raises(CdsError, match="precedent init"):
        open_storage(settings)
    create_key_ring(settings.effective_key_file)
    with pytest.raises(CdsError, match="precedent init"):
        open_storage(settings)


def test_master_key_when_rotated_still_reads_old_data(storage: Storage, settings: Settings) -> None:
    add(storage, a_case())
    old = create_key_ring(settings.effective_key_file)
    new = old.with_new_master_key()
    save_key_ring(new, settings.effective_key_file)
    assert rewrap_data_keys(storage.engine, new) == 1
    document = json.loads(settings.effective_key_file.read_text())
    document["master_keys"].pop(old.current_id)
    assert document["identity"] == old.current_id  # keyed hashes still derive from the first key
    again = open_storage(settings)
    assert again.catalogue.case_by_id("case-1") == a_case()
    assert again.keys.study_key("1.2") == storage.keys.study_key("1.2")
    again.engine.dispose()


def test_database_when_its_tables_are_gone_is_said_not_to_answer(storage: Storage) -> None:
    storage.check_database()
    with storage.engine.begin() as connection:
        connection.execute(text("ALTER TABLE library_case RENAME TO elsewhere"))
    with pytest.raises(CdsError, match="does not answer"):
        storage.check_database()


def new_case(name: str, **changes: str) -> NewCase:
    case = a_case(name, **changes)
    return NewCase(case, tuple(f"sha of {p.picture_id}" for p in case.pictures), {"note": name})


def test_cases_when_added_together_are_all_there(storage: Storage) -> None:
    new = [new_case(f"case {i}") for i in (3, 1, 2)]
    assert storage.catalogue.add_cases(new)
    assert {c.case_id: c for c in storage.catalogue.iter_cases()} == {
        one.case.case_id: one.case for one in new
    }
    assert storage.catalogue.notes_of("case 2") == {"note": "case 2"}
    assert storage.catalogue.has_study(new[0].case.collection, new[0].case.study_key)
    assert not storage.catalogue.has_study("another", new[0].case.study_key)


@pytest.mark.parametrize("kind", ["there already", "too long", "erased file", "opted out"])
def test_cases_when_one_cannot_be_added_are_none_of_them(storage: Storage, kind: str) -> None:
    bad = new_case("bad")
    if kind == "there already":
        assert storage.catalogue.add_case(
            a_case("other", pictures=bad.case.pictures), content_sha256=["x"], notes={}
        )
    elif kind == "too long":
        bad = new_case("bad", licence="x" * 201)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with Session(storage.engine) as session, session.begin():
        if kind == "erased file":
            key = storage.rows.content_key(bad.content_sha256[0])
            session.add(ErasureTombstone(kind="file", key=key, erased_at=at))
        elif kind == "opted out":
            bad = new_case("bad", patient_key="who objected")
            session.add(
                OptOutRow(
                    owner_ehr_id="ehr", patient_key="who objected", source="list", created_at=at
                )
            )
    before = storage.catalogue.n_cases()
    assert not storage.catalogue.add_cases([new_case("a"), bad, new_case("z")])
    assert storage.catalogue.n_cases() == before
    assert storage.catalogue.add_cases([new_case("a"), new_case("z")])
