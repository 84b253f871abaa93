"""Erasing a patient: gone everywhere, proved, kept out, and the same end after any kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from cds.adapters.archive_ledger import LedgerScope, SqlArchiveLedger
from cds.adapters.erasure_traces import ON_REQUEST
from cds.adapters.opt_outs import SqlOptOuts
from cds.adapters.sql.erasure import SqlErasures
from cds.adapters.storage import initialise
from cds.adapters.tombstone_file import JsonLinesTombstones
from cds.cli.library_erase import receipt_lines
from cds.cli.main import EXIT_REFUSED, main
from cds.domain.erasure import (
    ErasureReason,
    ErasureReceipt,
    ErasureRequest,
    Tombstone,
    TombstoneKind,
)
from cds.domain.study import StudyRef
from cds.domain.withdrawal import Withdrawal, WithdrawalReason
from cds.engine import Engine, engine_from_settings
from cds.engine.deidentification import shipped_deidentifier
from cds.engine.erasure import TOMBSTONE_FILE, library_erasure, training_note
from cds.library.embedding_run import embed_missing
from cds.library.erasure import NO_TRAINING, LibraryErasure
from cds.library.import_run import OF_ANOTHER, LibraryImport
from cds.library.import_summary import ImportSummary
from cds.library.picture_intake import ERASED
from cds.library.source_case import SourceCase, SourcePicture
from cds.settings import Settings
from tests.builders.burned_in import a_smooth_picture
from tests.builders.dicom import a_picture_file
from tests.builders.report import a_report
from tests.fakes.archives import an_archived_study

NAMESPACE, PATIENT = "https://a.example.invalid/mrn", "ZZ-4711-SEEDED"
N_OTHERS = 5


def picture(folder: Path, name: str, seed: int) -> SourcePicture:
    file = folder / name
    file.write_bytes(a_picture_file(a_smooth_picture(160, 144, seed)))
    return SourcePicture(name, file, "PA")


def rows(folder: Path) -> list[SourceCase]:
    """Two films of the patient, one each of others, and one that is quarantined by name."""
    folder.mkdir(exist_ok=True)
    films = [(PATIENT, 0), (PATIENT, 1), *((f"other {i}", 10 + i) for i in range(N_OTHERS))]
    cases = [a_row(patient, seed, picture(folder, f"{seed}.png", seed)) for patient, seed in films]
    lost = SourcePicture(f"scan of {PATIENT}.png", None, "PA")
    return [*cases, a_row(PATIENT, 99, lost)]


def a_row(patient: str, seed: int, *pictures: SourcePicture) -> SourceCase:
    return SourceCase(
        row_name=f"row {seed}",
        collection="collection A",
        study_name=f"study {seed}",
        patient_namespace=NAMESPACE,
        patient_value=patient,
        pictures=pictures,
        study_instance_uid=f"1.2.826.0.1.4711.{seed}",
        modality="DX",
        known_at=datetime(2020, 1, 1, tzinfo=UTC),
        notes={"note": f"about {patient}"},
    )


def import_rows(engine: Engine, cases: list[SourceCase]) -> ImportSummary:
    storage = engine.storage
    return LibraryImport(
        catalogue=storage.catalogue,
        blobs=storage.blobs,
        keys=storage.keys,
        reader=engine.frames_from_file,
        deidentifier=shipped_deidentifier(storage.keys),
    ).run(cases, source_kind="table", collection="collection A")


@dataclass(frozen=True)
class Library:
    """One installation with the patient in it."""

    engine: Engine
    folder: Path

    @property
    def request(self) -> ErasureRequest:
        key = self.engine.keys.patient_key(NAMESPACE, PATIENT)
        return ErasureRequest(key, ErasureReason.ERASURE, "Dr Approver", PATIENT)

    @property
    def ledger(self) -> SqlErasures:
        storage = self.engine.storage
        return SqlErasures(storage.engine, storage.cipher, storage.rows)

    def erasure(self) -> LibraryErasure:
        return library_erasure(self.engine)

    def cases_of_patient(self) -> list[str]:
        key = self.request.patient_key
        cases = self.engine.storage.catalogue.iter_cases()
        return [case.case_id for case in cases if case.patient_key == key]

    def end_state(self) -> dict[str, Any]:
        """What an erasure leaves, without its numbers and times."""
        storage = self.engine.storage
        with storage.engine.connect() as connection:
            steps = connection.execute(text("SELECT step, plan FROM erasure")).all()
            rejected = [file for file, _ in storage.catalogue.rejected_files()]
        index = self.engine.settings.state_dir / "index"
        blobs = self.engine.settings.state_dir / "blobs"
        return {
            "cases": sorted(c.case_id for c in storage.catalogue.iter_cases()),
            "vectors": sorted(storage.embeddings.embeddings(self.engine.embedder.encoder_hash)),
            "blobs": sorted(p.name for p in blobs.rglob("*") if p.is_file()),
            "index": sorted(p.relative_to(index).as_posix() for p in index.rglob("*")),
            "tombstones": sorted((t.kind.value, t.key) for t in self.ledger.tombstones()),
            "file": sorted(
                (t.kind.value, t.key)
                for t in JsonLinesTombstones(self.engine.settings.state_dir / TOMBSTONE_FILE).read()
            ),
            "steps": [tuple(row) for row in steps],
            "rejected": rejected,
        }


def opened(state_dir: Path, folder: Path) -> Library:
    return Library(engine_from_settings(Settings(state_dir=state_dir)), folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with an imported, embedded and indexed library."""
    root = tmp_path_factory.mktemp("erasure")
    settings = Settings(state_dir=root / "state")
    initialise(settings)
    library = opened(settings.state_dir, root / "films")
    import_rows(library.engine, rows(library.folder))
    storage = library.engine.storage
    embed_missing(library.engine.embedder, embeddings=storage.embeddings, blobs=storage.blobs)
    library.engine.build_index()
    storage.engine.dispose()
    return root


@pytest.fixture
def library(made: Path, tmp_path: Path) -> Iterator[Library]:
    shutil.copytree(made / "state", tmp_path / "state")
    one = opened(tmp_path / "state", made / "films")
    yield one
    one.engine.storage.engine.dispose()


def test_patient_when_erased_is_found_before_and_nowhere_after(library: Library) -> None:
    erased = library.cases_of_patient()
    receipt = library.erasure().erase(library.request)
    assert len(erased) == receipt.n_cases == receipt.n_pictures == 2
    assert (receipt.before.n_searches, receipt.before.n_at_rank_1) == (2, 2)
    assert (receipt.after.n_searches, receipt.after.n_found) == (2, 0)
    assert (receipt.n_traces_left, receipt.is_proved) == (0, True)
    assert receipt.removed_rows["case_embedding"] == 2
    assert receipt.removed_rows["import_rejection"] == 1
    assert receipt.generation_now not in receipt.generations_removed
    assert library.cases_of_patient() == []
    assert library.engine.passport().n_patients == N_OTHERS


def test_state_folder_when_scanned_before_the_erasure_holds_the_ids(library: Library) -> None:
    """The scan can find: otherwise its zero afterwards would mean nothing."""
    plan = library.ledger.plan_of(library.request.patient_key)
    traces = library.erasure()._tools.traces
    assert traces.find(plan.case_ids) >= 2  # database and index
    assert traces.find(plan.blob_keys) >= 2  # names of files, and the database
    library.erasure().erase(library.request)
    assert traces.find([*plan.case_ids, *plan.picture_ids, *plan.blob_keys]) == 0


def test_receipt_holds_nothing_of_the_patient_and_is_kept(library: Library) -> None:
    plan = library.ledger.plan_of(library.request.patient_key)
    receipt = library.erasure().erase(library.request)
    printed = json.dumps(receipt.to_json()) + "\n".join(receipt_lines(receipt))
    hidden = [PATIENT, NAMESPACE, library.request.patient_key, *plan.case_ids, *plan.picture_ids]
    assert not [one for one in hidden if one in printed]
    assert library.ledger.receipts() == (receipt,)
    names = [file.name for file in receipt.removed_files]
    assert sum(name.startswith("blobs/") for name in names) == 2
    assert any(name.startswith("index/") for name in names)
    assert all(len(file.sha256) == 64 for file in receipt.removed_files)


def test_patient_when_erased_does_not_come_back_by_import(library: Library) -> None:
    library.erasure().erase(library.request)
    summary = import_rows(library.engine, rows(library.folder))
    assert (summary.n_cases, summary.quarantined[ERASED]) == (0, 2)
    assert library.cases_of_patient() == []


def test_same_files_under_another_number_do_not_come_back(library: Library) -> None:
    library.erasure().erase(library.request)
    renamed = [replace(row, patient_value="another number") for row in rows(library.folder)[:2]]
    assert import_rows(library.engine, renamed).n_cases == 0


def test_case_when_added_behind_the_imports_back_is_refused_by_the_catalogue(
    library: Library,
) -> None:
    """An importer that looked before the erasure began writes after it."""
    catalogue = library.engine.storage.catalogue
    case = catalogue.case_by_id(library.cases_of_patient()[0])
    assert case is not None
    library.erasure().erase(library.request)
    late = replace(case, pictures=())
    assert not catalogue.add_case(late, content_sha256=[], notes={})
    assert catalogue.case_by_id(case.case_id) is None


def test_patient_who_objects_before_any_import_is_kept_out(library: Library) -> None:
    key = library.engine.keys.patient_key(NAMESPACE, "nobody yet")
    request = ErasureRequest(key, ErasureReason.OBJECTION, "Dr Approver", "nobody yet")
    receipt = library.erasure().erase(request)
    row = a_row("nobody yet", 55, picture(library.folder, "55.png", 55))
    assert (receipt.n_cases, receipt.is_proved) == (0, True)
    assert import_rows(library.engine, [row]).n_cases == 0


@pytest.mark.parametrize(("owner", "n_cases"), [(None, 0), ("a", 0), ("b", 1)])
def test_patient_on_an_opt_out_list_is_kept_out_of_an_import_of_files(
    library: Library, owner: str | None, n_cases: int
) -> None:
    """EHR a's list holds for a and for cases that every EHR sees, not for what is b's alone."""
    storage = library.engine.storage
    key = library.engine.keys.patient_key(NAMESPACE, "nobody yet")
    SqlOptOuts(storage.engine, library.engine.clock).add("a", [key], source="list")
    row = a_row("nobody yet", 55, picture(library.folder, "55.png", 55))
    summary = import_rows(library.engine, [replace(row, owner_ehr_id=owner)])
    assert summary.n_cases == n_cases
    assert summary.quarantined.get(ERASED, 0) == 1 - n_cases


@pytest.mark.parametrize("changes", [{"owner_ehr_id": "b"}, {"patient_value": "somebody else"}])
def test_picture_of_another_owner_or_patient_joins_no_case_of_the_same_study(
    library: Library, changes: dict[str, Any]
) -> None:
    film = picture(library.folder, "66.png", 66)
    row = replace(rows(library.folder)[0], pictures=(film,), **changes)
    summary = import_rows(library.engine, [row])
    assert (summary.n_cases, summary.n_pictures) == (0, 0)
    assert summary.quarantined == {OF_ANOTHER: 1}
    plan = library.ledger.plan_of(library.request.patient_key)
    assert len(plan.picture_ids) == 2


def test_library_when_its_only_patient_is_erased_has_no_index(library: Library) -> None:
    for i in range(N_OTHERS):
        key = library.engine.keys.patient_key(NAMESPACE, f"other {i}")
        library.erasure().erase(ErasureRequest(key, ErasureReason.OPT_OUT, "Dr Approver"))
    receipt = library.erasure().erase(library.request)
    assert receipt.generation_now is None
    assert receipt.is_proved
    left = list((library.engine.settings.state_dir / "index").iterdir())
    assert [(path.name, path.stat().st_size) for path in left] == [(".writer.lock", 0)]


def test_picture_that_another_patient_shares_stays(library: Library) -> None:
    storage = library.engine.storage
    plan = library.ledger.plan_of(library.request.patient_key)
    other = next(
        c for c in storage.catalogue.iter_cases() if c.patient_key != library.request.patient_key
    )
    with storage.engine.begin() as connection:
        connection.execute(
            text("UPDATE case_picture SET blob_key = :blob WHERE case_id = :case"),
            {"blob": plan.blob_keys[0], "case": other.case_id},
        )
    library.erasure().erase(library.request)
    assert storage.blobs.get(plan.blob_keys[0])
    assert storage.blobs.sealed(plan.blob_keys[1]) is None


def test_backup_when_restored_and_replayed_is_erased_again(
    library: Library, tmp_path: Path
) -> None:
    state = library.engine.settings.state_dir
    shutil.copytree(state, tmp_path / "backup")
    library.erasure().erase(library.request)
    shutil.copy(state / TOMBSTONE_FILE, tmp_path / "backup" / TOMBSTONE_FILE)
    restored = opened(tmp_path / "backup", library.folder)
    assert len(restored.cases_of_patient()) == 2
    (receipt,) = restored.erasure().replay()
    assert (receipt.reason, receipt.n_cases, receipt.is_proved) == ("replay", 2, True)
    assert restored.cases_of_patient() == []
    assert restored.erasure().replay() == ()
    restored.engine.storage.engine.dispose()


def test_stored_answer_that_matched_the_case_keeps_its_counts_and_loses_the_case(
    library: Library,
) -> None:
    results = library.engine.results
    report = a_report()
    erased = library.cases_of_patient()[0]
    neighbors = (replace(report.neighbors[0], case_id=erased), *report.neighbors[1:])
    report = replace(report, neighbors=neighbors)
    results.save(report, requested_by="user")
    receipt = library.erasure().erase(library.request)
    kept = results.by_id(report.ehr_id, report.report_id)
    assert kept is not None
    assert receipt.n_answers_redacted == 1
    assert kept.n_neighbors == report.n_neighbors
    assert kept.findings == report.findings
    assert (kept.neighbors[0].case_id, kept.neighbors[0].age_band) == ("removed", ON_REQUEST)
    assert kept.neighbors[1:] == report.neighbors[1:]


def test_withdrawn_answer_about_an_erased_study_stays_withdrawn(library: Library) -> None:
    """The same film may be a library case and a clinical study: its warnings are not the case's."""
    results, lives = library.engine.results, library.engine.background.lives
    report = replace(a_report(), study=StudyRef("1.2.826.0.1.4711.0"))
    results.save(report, requested_by="user")
    noticed_at = datetime(2026, 2, 1, tzinfo=UTC)
    assert lives.withdraw(report, Withdrawal(WithdrawalReason.MOVED, noticed_at))
    receipt = library.erasure().erase(library.request)
    kept = results.by_id(report.ehr_id, report.report_id)
    assert kept is not None
    assert kept.withdrawn == Withdrawal(WithdrawalReason.MOVED, noticed_at)
    assert receipt.is_proved


def test_audit_trail_keeps_who_looked_and_nothing_else_names_the_case(library: Library) -> None:
    case_id = library.cases_of_patient()[0]
    case = library.engine.storage.catalogue.case_by_id(case_id)
    assert case is not None
    library.engine.case_picture_png(
        case_id, case.pictures[0].picture_id, ehr_id="a", who="Practitioner/1"
    )
    receipt = library.erasure().erase(library.request)
    assert receipt.is_proved
    assert any("opaque id of 1 of the cases" in remark for remark in receipt.remarks)
    (event,) = library.engine.storage.audit.newest("a")
    assert event.entity is not None
    assert case_id in event.entity


def test_study_that_an_archive_import_gave_up_is_forgotten_too(library: Library) -> None:
    """The quarantine knows such a study by its UID, in which the patient's number is not found."""
    storage, clock = library.engine.storage, library.engine.clock
    scope = LedgerScope("Hospital A", "a", NAMESPACE)
    ledger = SqlArchiveLedger(storage.engine, storage.cipher, storage.keys, clock, scope)
    storage.catalogue.start_run("run 7", collection="Hospital A", source_kind="archives")
    for patient, study_uid in ((PATIENT, "1.2.826.0.1.77"), ("other 0", "1.2.826.0.1.78")):
        ledger.see(an_archived_study(study_instance_uid=study_uid, patient_id_value=patient))
        storage.catalogue.reject("run 7", collection="Hospital A", file=study_uid, reason="cut")
    receipt = library.erasure().erase(library.request)
    assert receipt.removed_rows["import_rejection"] == 2  # and the file with the number in it
    assert receipt.removed_rows["archive_study"] == 1
    assert storage.catalogue.rejected_files() == (("1.2.826.0.1.78", "cut"),)


def test_export_that_a_killed_import_left_goes_with_an_erasure(library: Library) -> None:
    left = library.engine.settings.state_dir / "export-left"
    left.mkdir(0o700)
    (left / "spool.db").write_bytes(b"sealed records of everybody")
    library.erasure().erase(library.request)
    assert not left.exists()


def test_row_that_still_names_the_case_denies_the_proof(library: Library) -> None:
    case_id = library.cases_of_patient()[0]
    with library.engine.storage.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO import_run VALUES (:case, NULL, 'A', 'table', 'finished', '{}', "
                "'2026-01-01 00:00:00', NULL)"
            ),
            {"case": case_id},
        )
    receipt = library.erasure().erase(library.request)
    assert receipt.n_traces_left >= 1
    assert not receipt.is_proved


class PowerCutError(Exception):
    """The process ends here."""


class CutAfter:
    """Lets a number of calls of an erasure's tools through; then nothing more happens."""

    def __init__(self, n_calls: int) -> None:
        self.left = n_calls

    def around(self, tool: object) -> Any:
        cut = self

        class Cut:
            def __getattr__(self, name: str) -> Any:
                method = getattr(tool, name)

                def call(*arguments: object) -> object:
                    if cut.left == 0:
                        raise PowerCutError
                    cut.left -= 1
                    done = method(*arguments)
                    if cut.left == 0:
                        raise PowerCutError
                    return done

                return call

        return Cut()


def interrupted(library: Library, n_calls: int) -> bool:
    """Run an erasure that is cut after so many calls; True if it was cut."""
    tools, cut = library.erasure()._tools, CutAfter(n_calls)
    guarded = {
        f.name: cut.around(getattr(tools, f.name))
        for f in fields(tools)
        if f.name not in {"clock", "training_note"}
    }
    try:
        LibraryErasure(replace(tools, **guarded)).erase(library.request)
    except PowerCutError:
        return True
    return False


def test_erasure_when_cut_after_any_call_ends_as_an_undisturbed_one(
    made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "state", tmp_path / "whole")
    whole = opened(tmp_path / "whole", made / "films")
    undisturbed = whole.erasure().erase(whole.request)
    expected = whole.end_state()
    n_calls = 0
    while True:
        state = tmp_path / f"cut {n_calls}"
        shutil.copytree(made / "state", state)
        one = opened(state, made / "films")
        was_cut = interrupted(one, n_calls)
        if was_cut:
            receipt = one.erasure().erase(one.request)
            assert _of_interest(receipt) == _of_interest(undisturbed), n_calls
        assert one.end_state() == expected, n_calls
        one.engine.storage.engine.dispose()
        shutil.rmtree(state)
        if not was_cut:
            break
        n_calls += 1
    assert n_calls > 15
    whole.engine.storage.engine.dispose()


def _of_interest(receipt: ErasureReceipt) -> tuple[object, ...]:
    return (
        receipt.n_cases,
        receipt.before,
        receipt.after,
        receipt.removed_rows,
        receipt.removed_files,
        receipt.generation_now,
        receipt.is_proved,
    )


def test_tombstones_when_a_line_is_half_written_go_on(tmp_path: Path) -> None:
    file = JsonLinesTombstones(tmp_path / "stones.jsonl")
    at = datetime(2026, 3, 1, tzinfo=UTC)
    stones = [Tombstone(TombstoneKind.PATIENT, str(i) * 64, at) for i in range(3)]
    file.add(stones[:2])
    path = tmp_path / "stones.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    assert file.read() == (stones[0],)
    file.add(stones)
    assert file.read() == (stones[0], stones[1], stones[2])
    assert path.stat().st_mode & 0o777 == 0o600


def test_training_note_names_the_model_where_its_collection_was_trained_on() -> None:
    assert training_note(["collection A"]) == NO_TRAINING
    assert "precedent-cxr-2 was trained" in training_note(["nih-chestxray14-subset"])
    assert "of ChestX-ray14" in training_note(["ChestX-ray14", "cxr"])


def test_command_prints_the_proof_and_wants_an_approver(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "state", tmp_path / "state")
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path / "state"))
    command = ["library", "erase", "--patient", NAMESPACE, PATIENT]
    assert main(command) == EXIT_REFUSED
    assert "--approver" in capsys.readouterr().err
    assert main([*command, "--approver", "Dr Approver"]) == 0
    printed = capsys.readouterr().out
    assert "2 at rank 1; after: found 0 times" in " ".join(printed.split())
    assert "Proved" in printed
    assert PATIENT not in printed
    assert main(["library", "erase", "--replay"]) == 0
    assert "Nothing to erase again" in capsys.readouterr().out


def test_number_when_read_from_the_input_need_not_be_on_the_command_line(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "state", tmp_path / "state")
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path / "state"))
    command = ["library", "erase", "--patient", NAMESPACE, "-", "--approver", "Dr Approver"]
    monkeypatch.setattr("sys.stdin", StringIO("\n"))
    assert main(command) == EXIT_REFUSED
    monkeypatch.setattr("sys.stdin", StringIO(f"{PATIENT}\n"))
    assert main(command) == 0
    assert "In the library: 2 cases" in capsys.readouterr().out


def test_command_for_a_number_that_nobody_has_does_not_claim_a_proof(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "state", tmp_path / "state")
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path / "state"))
    command = ["library", "erase", "--patient", NAMESPACE, "mistyped", "--approver", "Dr Approver"]
    assert main(command) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "check that namespace and number are those of the import" in printed
    assert "Proved" not in printed
