"""A library out of a PACS and a FHIR server: joined, resumed, brought up to date, kept out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cds.adapters.archive_ledger import LedgerScope, SqlArchiveLedger
from cds.adapters.archive_requests import ArchiveLimits, ArchiveRequests
from cds.adapters.dicom_files import frames_from_file
from cds.adapters.egress import EgressClients
from cds.adapters.fhir_archive import FhirRecordArchive
from cds.adapters.fhir_search_records import SearchedRecords
from cds.adapters.opt_outs import SqlLibrarianActs, SqlOptOuts
from cds.adapters.sql.erasure import SqlErasures
from cds.adapters.storage import Storage, initialise, open_storage
from cds.domain.archive import ArchivedStudy, LedgerState, StudySearch
from cds.domain.case import LibraryCase
from cds.domain.erasure import Tombstone, TombstoneKind
from cds.domain.errors import CdsError, Reason
from cds.domain.librarian import LibrarianAct
from cds.domain.pixels import PixelFrame
from cds.domain.secrecy import SecretText
from cds.engine.deidentification import shipped_deidentifier
from cds.library.archive_cases import ArchiveScope
from cds.library.archive_import import ArchiveImport
from cds.library.archive_intake import Archives, Books, ImportPace
from cds.library.archive_kept_out import KeptOut
from cds.library.archive_preview import preview
from cds.library.archive_summary import ArchiveSummary
from cds.library.deidentification import RAW_REPORT
from cds.library.import_run import LibraryImport
from cds.settings import Settings
from tests.builders.dicom import STUDY_INSTANCE_UID
from tests.builders.fhir import MRN_SYSTEM, Resource, a_patient
from tests.builders.hospital_record import a_deny, a_report, numbered, the_film, the_record
from tests.builders.registration import a_registration
from tests.fakes.archives import FakePictureArchive, PowerCutError, Waiting, an_archived_study
from tests.fakes.clock import FixedClock
from tests.fakes.http_server import Reply, a_server
from tests.fakes.record_server import TOKEN, RecordServer

ACT = LibrarianAct("Dr. Lib Rarian", "Art. 9(2)(j), ethics vote 12/2026", StudySearch())
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def in_process(content: bytes) -> tuple[PixelFrame, ...]:
    return frames_from_file(content, isolate=False)


def a_noisy_film(number: int = 0, **overrides: Any) -> bytes:
    noise = np.random.default_rng(number).integers(0, 4096, (24, 32), dtype=np.uint16)
    suffix = f".{number}" if number else ""
    named = f"-{number}" if number else ""
    return the_film(
        **{
            "stored": noise,
            "StudyInstanceUID": f"{STUDY_INSTANCE_UID}{suffix}",
            "SOPInstanceUID": f"{STUDY_INSTANCE_UID}{suffix}.1.1",
            "PatientID": f"P100{named}",
            "AccessionNumber": f"A-1{named}",
            **overrides,
        }
    )


def a_numbered_study(number: int) -> ArchivedStudy:
    return an_archived_study(
        study_instance_uid=f"{STUDY_INSTANCE_UID}.{number}",
        patient_id_value=f"P100-{number}",
        accession_number=f"A-1-{number}",
    )


class Hospital:
    """Archives of both kinds and a library, over a real database and real HTTP."""

    def __init__(self, settings: Settings, fhir: RecordServer, url: str) -> None:
        self.settings = settings
        self.fhir = fhir
        fhir.base_url = f"{url}/fhir"
        self.clock = FixedClock(NOW)
        self.waiting = Waiting(self.clock)
        self.pacs = FakePictureArchive((an_archived_study(), (a_noisy_film(),)))
        self.registration = a_registration(
            fhir_base_url=fhir.base_url, permitted_networks=("127.0.0.0/8",)
        )
        self.storage = open_storage(settings, self.clock)

    def kept_out(self, storage: Storage | None = None) -> KeptOut:
        held = storage or self.storage
        return KeptOut(SqlOptOuts(held.engine, self.clock), held.keys, self.registration)

    def ledger(self, storage: Storage | None = None) -> SqlArchiveLedger:
        held = storage or self.storage
        scope = LedgerScope("Hospital A", self.registration.ehr_id, MRN_SYSTEM)
        return SqlArchiveLedger(held.engine, held.cipher, held.keys, self.clock, scope)

    def archives(self, storage: Storage | None = None) -> Archives:
        requests = ArchiveRequests(
            EgressClients(development=True)(self.registration),
            lambda: SecretText(TOKEN),
            limits=ArchiveLimits(request_s=5.0),
            sleep=self.waiting,
        )
        record = FhirRecordArchive(
            SearchedRecords(requests, self.registration), self.registration, clock=self.clock
        )
        return Archives(self.pacs, record, self.ledger(storage))

    def importer(self, storage: Storage | None = None, **pace: Any) -> ArchiveImport:
        held = storage or self.storage
        acts = SqlLibrarianActs(held.engine, held.cipher, self.clock)
        library = LibraryImport(
            catalogue=held.catalogue,
            blobs=held.blobs,
            keys=held.keys,
            reader=in_process,
            deidentifier=shipped_deidentifier(held.keys),
        )
        return ArchiveImport(
            self.archives(storage),
            Books(held.catalogue, held.keys, acts, held.audit, self.kept_out(storage)),
            library,
            scope=ArchiveScope("Hospital A", self.registration, "hospital only"),
            pace=ImportPace(self.clock, lease_s=60.0, sleep=self.waiting, **pace),
        )

    def run(self, **options: Any) -> ArchiveSummary:
        return self.importer().run(ACT, **options)

    def cases(self) -> list[LibraryCase]:
        return list(self.storage.catalogue.iter_cases())

    def state(self, study: ArchivedStudy | None = None) -> LedgerState | None:
        entry = self.ledger().entry(study or an_archived_study())
        return entry.state if entry else None


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    settings = Settings(state_dir=tmp_path / "state")
    initialise(settings)
    fhir = RecordServer(*the_record())
    with a_server(fhir) as server:
        opened = Hospital(settings, fhir, server.url)
        yield opened
        opened.storage.engine.dispose()


def with_three(hospital: Hospital) -> None:
    """Three patients with a film each."""
    numbers = (1, 2, 3)
    hospital.fhir.resources = [r for n in numbers for r in numbered(the_record(), n)]
    hospital.pacs = FakePictureArchive(
        *((a_numbered_study(n), (a_noisy_film(n),)) for n in numbers)
    )


def beside(hospital: Hospital, tmp_path: Path) -> Hospital:
    """A second installation with the same keys, over the same FHIR server."""
    settings = Settings(
        state_dir=tmp_path / "undisturbed", key_file=hospital.settings.effective_key_file
    )
    initialise(settings)
    return Hospital(settings, hospital.fhir, hospital.fhir.base_url.removesuffix("/fhir"))


def end_state(hospital: Hospital) -> dict[str, Any]:
    """Everything that an import leaves behind, without times and random ids."""
    blobs = hospital.settings.state_dir / "blobs"
    return {
        "cases": hospital.cases(),
        "notes": [hospital.storage.catalogue.notes_of(c.case_id) for c in hospital.cases()],
        "blobs": sorted(p.name for p in blobs.rglob("*") if p.is_file()),
        "ledger": hospital.ledger().tally(),
        "rejected": hospital.storage.catalogue.rejected_files(),
    }


def test_study_comes_in_with_pictures_record_and_owner(hospital: Hospital) -> None:
    summary = hospital.run()
    assert (summary.n_listed, summary.n_imported, summary.stopped) == (1, 1, None)
    (case,) = hospital.cases()
    assert case.owner_ehr_id == "a"
    assert case.patient_key == hospital.storage.keys.patient_key(MRN_SYSTEM, "P100")
    assert (case.collection, case.film_year, case.licence) == ("Hospital A", 2025, "hospital only")
    assert (case.modality, case.body_part, case.view_group.value) == ("DX", "CHEST", "PA")
    assert [f.coding.code for f in case.findings] == ["233604007", "95436008"]
    assert len(case.pictures) == 1
    assert not case.is_reference
    assert case.report_text == "Left basal consolidation. No pneumothorax."
    notes = hospital.storage.catalogue.notes_of(case.case_id)
    assert notes[RAW_REPORT] == case.report_text


def test_run_keeps_who_did_it_and_why(hospital: Hospital) -> None:
    summary = hospital.run()
    acts = SqlLibrarianActs(hospital.storage.engine, hospital.storage.cipher, hospital.clock)
    assert acts.by_run(summary.library.run_id) == ACT
    events = hospital.storage.audit.newest("a")
    assert [e.action for e in events] == ["library.import.finished", "library.import.started"]
    assert {e.who for e in events} == {"Dr. Lib Rarian"}
    database = (hospital.settings.state_dir / "precedent.db").read_bytes()
    assert b"ethics vote" not in database


def test_second_run_adds_and_changes_nothing(hospital: Hospital) -> None:
    with_three(hospital)
    hospital.run()
    before = end_state(hospital)
    n_asked = len(hospital.pacs.asked)
    summary = hospital.run()
    assert end_state(hospital) == before
    assert (summary.n_imported, summary.n_asked_again, summary.library.n_updated) == (0, 3, 0)
    assert hospital.pacs.asked[n_asked:] == ["search"] * 3  # no picture and no count again


def test_study_that_is_still_arriving_waits(hospital: Hospital) -> None:
    study = an_archived_study(n_instances=None)
    film, late = a_noisy_film(), a_noisy_film(7, SOPInstanceUID=f"{STUDY_INSTANCE_UID}.1.2")

    def arrives(what: str, _study: ArchivedStudy | None) -> None:
        if what == "count" and hospital.pacs.asked.count("count") == 2:
            hospital.pacs.held[STUDY_INSTANCE_UID] = (study, (film, late))

    hospital.pacs = FakePictureArchive((study, (film,)))
    hospital.pacs.fails = arrives
    summary = hospital.run()
    assert (summary.n_imported, summary.n_incomplete) == (0, 1)
    assert hospital.cases() == []
    assert hospital.waiting.slept_s == [60.0]
    hospital.clock.advance(timedelta(minutes=2))
    assert hospital.run().n_imported == 1


def test_instances_that_come_later_are_added_to_the_case(hospital: Hospital) -> None:
    hospital.run()
    film = a_noisy_film()
    lateral = a_noisy_film(
        8,
        StudyInstanceUID=STUDY_INSTANCE_UID,
        PatientID="P100",
        AccessionNumber="A-1",
        SOPInstanceUID=f"{STUDY_INSTANCE_UID}.1.2",
        ViewPosition="LL",
    )
    grown = an_archived_study(n_instances=2)
    hospital.pacs.held[STUDY_INSTANCE_UID] = (grown, (film, lateral))
    summary = hospital.run()
    (case,) = hospital.cases()
    assert len(case.pictures) == 2
    assert (summary.n_imported, summary.library.n_cases, summary.library.n_pictures) == (1, 0, 1)
    assert hospital.state() is LedgerState.IMPORTED


def test_outcomes_and_reports_that_come_later_reach_the_case(hospital: Hospital) -> None:
    full = hospital.fhir.resources
    hospital.fhir.resources = [
        r
        for r in full
        if r["resourceType"] != "DiagnosticReport" and not r["id"].startswith("visit")
    ]
    hospital.clock.at = datetime(2025, 3, 6, tzinfo=UTC)
    hospital.run()
    (early,) = hospital.cases()
    assert [f.coding.code for f in early.findings] == ["233604007"]
    assert ("death", 30) not in {(o.code, o.horizon_days) for o in early.outcomes}
    built_at = hospital.clock.now()
    hospital.clock.at = NOW
    hospital.fhir.resources = [
        a_patient(deceasedDateTime="2025-03-30") if r["resourceType"] == "Patient" else r
        for r in full
    ]
    summary = hospital.run()
    (late,) = hospital.cases()
    assert summary.library.n_updated == 1
    assert [f.coding.code for f in late.findings] == ["233604007", "95436008"]
    assert {(o.code, o.horizon_days): o.value for o in late.outcomes}["death", 30] == 1.0
    assert late.known_at is not None
    assert early.known_at is not None
    assert late.known_at > early.known_at
    assert (late.pictures, late.case_id) == (early.pictures, early.case_id)
    assert hospital.storage.catalogue.n_updated_since(built_at) == 1
    by_finding = hospital.storage.catalogue.n_patients_by_finding()
    assert by_finding == {"233604007": 1, "95436008": 1}


def test_report_known_later_than_a_question_keeps_the_case_out_of_its_answer(
    hospital: Hospital,
) -> None:
    hospital.fhir.resources = [
        a_report(issued="2026-05-02T08:00:00Z") if r["resourceType"] == "DiagnosticReport" else r
        for r in hospital.fhir.resources
    ]
    hospital.run()
    (case,) = hospital.cases()
    assert case.known_at == datetime(2026, 5, 2, 8, tzinfo=UTC)


STEPS = ("search", "count", "record", "retrieve", "decode", "add_case", "mark", "update_case")


class Cut:
    """Ends the process at the n-th call of one step."""

    def __init__(self, at: int) -> None:
        self.n_left = at

    def __call__(self, *_args: Any, **_kwargs: Any) -> None:
        self.n_left -= 1
        if self.n_left == 0:
            raise PowerCutError


def cut_before(call: Callable[..., Any], cut: Cut) -> Callable[..., Any]:
    def cutting(*args: Any, **kwargs: Any) -> Any:
        cut()
        return call(*args, **kwargs)

    return cutting


def break_at(hospital: Hospital, step: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Cut(at)
    if step in {"search", "count", "retrieve"}:
        hospital.pacs.fails = lambda what, _study: cut() if what == step else None
    elif step == "record":
        case_of = FhirRecordArchive.case_of
        monkeypatch.setattr(FhirRecordArchive, "case_of", cut_before(case_of, cut))
    elif step == "decode":
        monkeypatch.setitem(globals(), "in_process", cut_before(in_process, cut))
    elif step == "mark":
        mark = SqlArchiveLedger.mark_imported
        monkeypatch.setattr(SqlArchiveLedger, "mark_imported", cut_before(mark, cut))
    else:
        kind = type(hospital.storage.catalogue)
        monkeypatch.setattr(kind, step, cut_before(getattr(kind, step), cut))


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_run_that_is_cut_anywhere_ends_like_an_undisturbed_one(
    hospital: Hospital, tmp_path: Path, step: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = beside(hospital, tmp_path)
    for each in (hospital, undisturbed):
        with_three(each)
    if step == "update_case":
        for each in (hospital, undisturbed):
            each.run()
        hospital.fhir.resources = [
            {**r, "deceasedDateTime": "2026-05-20"} if r["resourceType"] == "Patient" else r
            for r in hospital.fhir.resources
        ]
    undisturbed.run()
    with monkeypatch.context() as patched:
        break_at(hospital, step, at, patched)
        with pytest.raises(PowerCutError):
            hospital.run()
    hospital.pacs.fails = lambda _what, _study: None
    hospital.run()
    assert end_state(hospital) == end_state(undisturbed)
    assert hospital.ledger().tally() == {LedgerState.IMPORTED: 3}
    again = hospital.run()
    assert (again.n_imported, again.library.n_updated) == (0, 0)
    undisturbed.storage.engine.dispose()


def test_claim_of_an_importer_that_was_killed_is_waited_for(hospital: Hospital) -> None:
    ledger = hospital.ledger()
    entry = ledger.see(an_archived_study(), n_instances=1)
    hospital.clock.advance(timedelta(seconds=90))
    assert ledger.claim(entry.study_key, lease_s=60.0) is not None  # and then kill -9
    summary = hospital.run()
    assert summary.n_imported == 1
    assert 60.0 in hospital.waiting.slept_s


def test_two_importers_at_once_double_nothing(hospital: Hospital) -> None:
    with_three(hospital)
    start = threading.Barrier(2)
    summaries: list[ArchiveSummary] = []

    def work() -> None:
        own = open_storage(hospital.settings, hospital.clock)
        start.wait()
        summaries.append(hospital.importer(own).run(ACT))
        own.engine.dispose()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(summaries) == 2
    assert len(hospital.cases()) == 3
    assert sum(s.library.n_cases for s in summaries) == 3
    assert hospital.ledger().tally() == {LedgerState.IMPORTED: 3}


def test_who_is_on_the_list_is_never_asked_about(hospital: Hospital) -> None:
    assert hospital.kept_out().add_list([(None, "P100")]) == 1
    summary = hospital.run()
    assert (summary.n_kept_out, summary.n_imported) == (1, 0)
    assert hospital.pacs.asked == ["search"]
    assert hospital.cases() == []
    assert b"P100" not in (hospital.settings.state_dir / "precedent.db").read_bytes()


def test_who_is_on_the_list_under_another_number_is_kept_out(hospital: Hospital) -> None:
    insurance = {"system": "urn:oid:2.999.9", "value": "I-7"}
    numbers = [{"system": MRN_SYSTEM, "value": "P100"}, insurance]
    hospital.fhir.resources[0] = a_patient(identifier=numbers)
    hospital.kept_out().add_list([("urn:oid:2.999.9", "I-7")])
    assert hospital.run().n_kept_out == 1
    assert "retrieve" not in hospital.pacs.asked


def test_who_opts_out_later_is_skipped_and_the_case_is_named_for_erasure(
    hospital: Hospital,
) -> None:
    hospital.run()
    (before,) = hospital.cases()
    hospital.kept_out().add_list([(MRN_SYSTEM, "P100")])
    hospital.fhir.resources[0] = a_patient(deceasedDateTime="2025-03-30")
    summary = hospital.run()
    assert (summary.n_kept_out, summary.n_cases_of_opted_out) == (1, 1)
    assert hospital.cases() == [before]  # not brought up to date any more


def test_consent_keeps_out_until_it_is_withdrawn(hospital: Hospital) -> None:
    consent: Resource = a_deny()
    hospital.fhir.resources.append(consent)
    summary = hospital.run()
    assert (summary.n_kept_out, summary.n_imported) == (1, 0)
    assert "retrieve" not in hospital.pacs.asked
    assert hospital.state() is LedgerState.WITHDRAWN
    assert hospital.run().n_kept_out == 1
    hospital.fhir.resources.remove(consent)
    assert hospital.run().n_imported == 1


def test_study_that_was_erased_stays_out(hospital: Hospital) -> None:
    hospital.run()
    entry = hospital.ledger().entry(an_archived_study())
    assert entry is not None
    hospital.ledger().withdraw(entry.study_key, "erased")
    summary = hospital.run()
    assert (summary.n_imported, summary.n_asked_again) == (0, 0)
    assert hospital.state() is LedgerState.WITHDRAWN


def test_patient_who_was_erased_is_never_read_or_remembered_again(hospital: Hospital) -> None:
    held = hospital.storage
    stone = Tombstone(TombstoneKind.PATIENT, held.keys.patient_key(MRN_SYSTEM, "P100"), NOW)
    SqlErasures(held.engine, held.cipher, held.rows).add_tombstones([stone])
    assert (hospital.run().n_kept_out, hospital.pacs.asked) == (1, ["search"])
    assert hospital.state() is LedgerState.WITHDRAWN  # which keeps no identity


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"PatientID": "P777"}, "patient ID"),
        ({"PatientBirthDate": "19700101"}, "birth date"),
        ({"PatientSex": "M"}, "sex"),
        ({"StudyInstanceUID": f"{STUDY_INSTANCE_UID}.9"}, "study UID"),
    ],
)
def test_picture_of_somebody_else_is_quarantined(
    hospital: Hospital, overrides: dict[str, str], field: str
) -> None:
    hospital.pacs = FakePictureArchive((an_archived_study(), (a_noisy_film(0, **overrides),)))
    summary = hospital.run()
    assert hospital.cases() == []
    assert summary.n_quarantined_studies == 1
    (reason,) = summary.library.quarantined
    assert field in reason
    assert hospital.state() is LedgerState.FAILED


def test_record_of_somebody_else_is_quarantined_and_audited(hospital: Hospital) -> None:
    hospital.fhir.resources[0] = a_patient(identifier=[{"system": MRN_SYSTEM, "value": "P555"}])
    summary = hospital.run()
    assert (summary.n_quarantined_studies, summary.n_imported) == (1, 0)
    assert "retrieve" not in hospital.pacs.asked
    assert hospital.state() is LedgerState.FAILED
    actions = {e.action: e for e in hospital.storage.audit.newest("a")}
    assert actions["identity.mismatch"].detail == "patient ID"
    assert hospital.run().n_given_up_before == 1
    hospital.fhir.resources[0] = a_patient()
    assert hospital.importer(retries_given_up=True).run(ACT).n_imported == 1


def test_case_whose_study_was_moved_to_another_patient_is_named(hospital: Hospital) -> None:
    hospital.run()
    hospital.fhir.resources[0] = a_patient(identifier=[{"system": MRN_SYSTEM, "value": "P555"}])
    summary = hospital.run()
    assert (summary.n_in_doubt, summary.library.n_updated) == (1, 0)
    assert "identity.mismatch" in {e.action for e in hospital.storage.audit.newest("a")}


def test_study_that_the_record_does_not_know_is_left_for_later(hospital: Hospital) -> None:
    known = hospital.fhir.resources
    hospital.fhir.resources = []
    assert hospital.run().n_not_recorded == 1
    hospital.fhir.resources = known
    hospital.clock.advance(timedelta(days=2))
    assert hospital.run().n_imported == 1


def test_run_stops_where_the_token_is_refused(hospital: Hospital) -> None:
    with_three(hospital)
    hospital.fhir.token = "another"
    summary = hospital.run()
    assert "refused access (401)" in (summary.stopped or "")
    assert summary.n_failed_for_now == 1
    hospital.fhir.token = TOKEN
    hospital.clock.advance(timedelta(hours=2))
    assert hospital.run().n_imported == 3


def test_one_failing_record_does_not_end_the_run(hospital: Hospital) -> None:
    with_three(hospital)

    def fails(what: str, study: ArchivedStudy | None) -> None:
        is_second = study is not None and study.study_instance_uid.endswith(".2")
        if what == "retrieve" and is_second:
            raise CdsError(Reason.UPSTREAM_FAILED, "The PACS answered 500.", status=500)

    hospital.pacs.fails = fails
    summary = hospital.run()
    assert (summary.n_imported, summary.n_failed_for_now, summary.stopped) == (2, 1, None)
    assert summary.reasons["The PACS answered 500."] == 1
    hospital.pacs.fails = lambda _what, _study: None
    hospital.clock.advance(timedelta(hours=2))
    assert hospital.run().n_imported == 1


def test_peer_that_is_down_stops_the_run_after_five_studies(hospital: Hospital) -> None:
    numbers = range(1, 9)
    hospital.pacs = FakePictureArchive(
        *((a_numbered_study(n), (a_noisy_film(n),)) for n in numbers)
    )
    hospital.fhir.instead["ImagingStudy"] = lambda _: Reply(500)
    summary = hospital.run()
    assert summary.n_failed_for_now == 5
    assert summary.stopped == "The EHR answered 500."


def test_walk_that_breaks_off_stops_the_run_with_its_reason(hospital: Hospital) -> None:
    def fails(what: str, _study: ArchivedStudy | None) -> None:
        if what == "search":
            raise CdsError(Reason.UPSTREAM_FAILED, "The PACS cannot be reached.")

    hospital.pacs.fails = fails
    assert hospital.run().stopped == "The PACS cannot be reached."


def test_limit_is_of_studies_looked_at(hospital: Hospital) -> None:
    with_three(hospital)
    summary = hospital.run(limit=2)
    assert (summary.n_listed, summary.n_imported) == (2, 2)


def test_preview_joins_and_keeps_nothing(hospital: Hospital) -> None:
    with_three(hospital)
    hospital.fhir.resources += numbered([a_deny()], 2)
    found = preview(hospital.archives(), hospital.kept_out(), StudySearch())
    assert (found.n_listed, found.n_joined) == (3, 2)
    assert found.parts["report"] == 2
    assert list(found.reasons.values()) == [1]
    assert hospital.cases() == []
    assert hospital.ledger().tally() == {}
    assert set(hospital.pacs.asked) == {"search"}


def test_summary_names_no_patient(hospital: Hospital) -> None:
    summary = hospital.run()
    told = str(summary.to_json())
    for seeded in ("P100", "p100", STUDY_INSTANCE_UID, "1959", "Person"):
        assert seeded not in told


@pytest.mark.parametrize(("librarian", "basis"), [("", "x"), ("x", " ")])
def test_act_without_a_person_or_a_right_does_not_exist(librarian: str, basis: str) -> None:
    with pytest.raises(ValueError, match="librarian"):
        LibrarianAct(librarian, basis, StudySearch())
