"""A bulk export over HTTP: kicked off, waited for, streamed, encrypted on disk, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cds.adapters.archive_requests import ArchiveRequests
from cds.adapters.egress import EgressClients
from cds.adapters.exported_records import ExportedRecords
from cds.adapters.fhir_archive import FhirRecordArchive
from cds.adapters.fhir_bulk_export import BulkExport, BulkLimits, ExportReport
from cds.adapters.ndjson_lines import BATCH_BYTES, MAX_LINE_BYTES, NdjsonLines
from cds.adapters.record_spool import RecordSpool, remove_abandoned_exports
from cds.adapters.storage import Storage, initialise, open_storage
from cds.domain.errors import CdsError, Reason
from cds.domain.secrecy import SecretText
from cds.settings import Settings
from tests.builders.dicom import STUDY_INSTANCE_UID
from tests.builders.fhir import MRN_SYSTEM, a_patient
from tests.builders.hospital_record import a_procedure, numbered, the_record, the_study
from tests.builders.registration import a_registration
from tests.fakes.archives import Waiting, an_archived_study
from tests.fakes.clock import FixedClock
from tests.fakes.http_server import Asked, LocalServer, Reply, a_server
from tests.fakes.record_server import TOKEN, RecordServer, an_issue


class Exported:
    """A FHIR server that exports, and the spool that it is exported into."""

    def __init__(self, server: LocalServer, fhir: RecordServer, storage: Storage) -> None:
        self.fhir = fhir
        self.server = server
        fhir.base_url = f"{server.url}/fhir"
        self.storage = storage
        self.clock = FixedClock()
        self.waiting = Waiting(self.clock)
        self.spool: RecordSpool | None = None

    def export(self, spool: RecordSpool, **options: Any) -> ExportReport:
        registration = a_registration(
            fhir_base_url=self.fhir.base_url, permitted_networks=("127.0.0.0/8",)
        )
        http = EgressClients(development=True)(registration)
        requests = ArchiveRequests(http, lambda: SecretText(TOKEN), sleep=self.waiting)
        values = {
            "sleep": self.waiting,
            "clock": lambda: self.clock.now().timestamp(),
            **options,
        }
        return BulkExport(http, requests, **values).into(spool)

    def archive(self, spool: RecordSpool, report: ExportReport) -> FhirRecordArchive:
        registration = a_registration()
        return FhirRecordArchive(
            ExportedRecords(spool, report, registration), registration, clock=self.clock
        )


@pytest.fixture
def exported(tmp_path: Path) -> Iterator[Exported]:
    settings = Settings(state_dir=tmp_path / "state")
    initialise(settings)
    storage = open_storage(settings)
    fhir = RecordServer(*the_record(), *numbered(the_record(), 2))
    with a_server(fhir) as server:
        yield Exported(server, fhir, storage)
    storage.engine.dispose()


@pytest.fixture
def spool(exported: Exported, tmp_path: Path) -> Iterator[RecordSpool]:
    with RecordSpool(tmp_path, exported.storage.cipher, exported.storage.keys) as opened:
        yield opened


def refusal(exported: Exported, spool: RecordSpool, **options: Any) -> CdsError:
    with pytest.raises(CdsError) as caught:
        exported.export(spool, **options)
    return caught.value


def test_export_gives_the_same_case_as_searching(exported: Exported, spool: RecordSpool) -> None:
    report = exported.export(spool)
    case = exported.archive(spool, report).case_of(an_archived_study())
    assert case is not None
    assert [f.coding.code for f in case.findings] == ["233604007", "95436008"]
    assert [m.code for m in case.measurements] == ["1988-5"]
    outcomes = {(o.code, o.horizon_days): o.value for o in case.outcomes}
    assert outcomes["icu-admission", 7] == 0.0  # an intensive care unit is in the export
    assert ("ventilation", 7) not in outcomes
    assert report.taken_at == datetime(2026, 1, 6, 4, tzinfo=UTC)
    assert ("death", 365) not in outcomes  # the export was taken before the year was over
    assert report.n_resources["Patient"] == 2


def test_export_asks_as_the_specification_says_and_cleans_up(
    exported: Exported, spool: RecordSpool
) -> None:
    exported.export(spool, group_id="g1")
    kick_off, *rest = exported.server.asked
    assert kick_off.path == "/fhir/Group/g1/$export"
    assert kick_off.headers["prefer"] == "respond-async"
    assert "Patient" in kick_off.query["_type"][0].split(",")
    assert exported.waiting.slept_s == [3.0, 3.0]
    assert rest[-1].method == "DELETE"
    assert exported.fhir.deleted == ["/status/1"]
    files = [a for a in exported.server.asked if a.path.startswith("/files/")]
    assert {a.headers.get("authorization") for a in files} == {f"Bearer {TOKEN}"}


def test_files_that_want_no_token_get_none(exported: Exported, spool: RecordSpool) -> None:
    exported.fhir.wants_token_for_files = False
    exported.export(spool)
    files = [a for a in exported.server.asked if a.path.startswith("/files/")]
    assert files
    assert all("authorization" not in a.headers for a in files)


def test_busy_server_is_waited_for(exported: Exported, spool: RecordSpool) -> None:
    exported.fhir.busy["/fhir/$export"] = 1
    exported.fhir.busy["/status"] = 2
    exported.export(spool)
    assert exported.waiting.slept_s == [7.0, 7.0, 7.0, 3.0, 3.0]


def test_error_file_is_reported_by_kind_and_denies_nothing(
    exported: Exported, spool: RecordSpool
) -> None:
    exported.fhir.export_errors = [
        an_issue("error", "timeout"),
        an_issue("warning", "code-invalid"),
    ]
    report = exported.export(spool)
    assert report.problems == (
        "The export reports 1 issues of severity error, code timeout.",
        "The export reports 1 issues of severity warning, code code-invalid.",
    )
    assert not report.is_whole
    assert "Seeded" not in str(report)
    case = exported.archive(spool, report).case_of(an_archived_study())
    assert case is not None
    assert ("icu-admission", 7) not in {(o.code, o.horizon_days) for o in case.outcomes}


def test_words_of_a_server_that_are_no_codes_are_not_repeated(
    exported: Exported, spool: RecordSpool
) -> None:
    exported.fhir.export_errors = [an_issue("MRN-SEEDED", "Seeded, Person 1970")]
    report = exported.export(spool)
    assert report.problems == ("The export reports 1 issues of severity error, code unknown.",)
    assert not report.is_whole


def test_warnings_alone_leave_the_export_whole(exported: Exported, spool: RecordSpool) -> None:
    exported.fhir.export_errors = [an_issue("warning", "code-invalid")]
    assert exported.export(spool).is_whole


def test_file_that_is_cut_is_refused(exported: Exported, spool: RecordSpool) -> None:
    exported.fhir.cuts_files = True
    error = refusal(exported, spool)
    assert error.reason is Reason.UPSTREAM_FAILED
    assert "instead of" in error.sentence
    assert exported.fhir.deleted == ["/status/1"]  # also after a failure


def test_file_that_is_too_large_is_refused_while_it_comes(
    exported: Exported, spool: RecordSpool
) -> None:
    error = refusal(exported, spool, limits=BulkLimits(max_file_bytes=500))
    assert error.reason is Reason.UPSTREAM_FAILED


def test_export_that_is_never_ready_is_given_up(exported: Exported, spool: RecordSpool) -> None:
    exported.fhir.n_polls = 10_000
    error = refusal(exported, spool, limits=BulkLimits(ready_within_s=20.0))
    assert error.reason is Reason.DEADLINE
    assert len(exported.waiting.slept_s) <= 7
    assert exported.fhir.deleted == ["/status/1"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 501])
def test_server_that_does_not_export_is_refused(
    exported: Exported, spool: RecordSpool, status: int
) -> None:
    exported.server.answer = lambda _: Reply(status)
    assert refusal(exported, spool).facts["status"] == status


def test_status_and_files_elsewhere_are_refused_and_get_no_token(
    exported: Exported, spool: RecordSpool
) -> None:
    own = exported.server.answer
    with a_server(lambda _: Reply(200, b"{}")) as thief:

        def status_elsewhere(asked: Asked) -> Reply:
            if asked.path.endswith("$export"):
                return Reply(202, headers={"Content-Location": f"{thief.url}/status/1"})
            return own(asked)

        exported.server.answer = status_elsewhere
        assert refusal(exported, spool).reason is Reason.EGRESS_REFUSED

        def files_elsewhere(asked: Asked) -> Reply:
            if asked.path == "/status/1" and asked.method == "GET":
                file = {"type": "Patient", "url": f"{thief.url}/files/Patient"}
                return Reply.json({"transactionTime": "2026-01-06T04:00:00Z", "output": [file]})
            return own(asked)

        exported.server.answer = files_elsewhere
        assert refusal(exported, spool).reason is Reason.EGRESS_REFUSED
        assert thief.asked == []


def test_group_that_is_no_id_is_refused(exported: Exported, spool: RecordSpool) -> None:
    assert refusal(exported, spool, group_id="../Patient").reason is Reason.INVALID_REQUEST
    assert exported.server.asked == []


def test_spool_holds_nothing_readable_and_is_gone_at_the_end(
    exported: Exported, tmp_path: Path
) -> None:
    with RecordSpool(tmp_path, exported.storage.cipher, exported.storage.keys) as spool:
        exported.export(spool)
        (folder,) = tmp_path.glob("export-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        content = b"".join(p.read_bytes() for p in folder.iterdir())
        for seeded in (b"P100", b"p100", STUDY_INSTANCE_UID.encode(), b"Person", b"consolidation"):
            assert seeded not in content
    assert list(tmp_path.glob("export-*")) == []


def test_export_that_a_killed_import_left_goes_and_one_at_work_stays(
    exported: Exported, tmp_path: Path
) -> None:
    sealed, keys = exported.storage.cipher, exported.storage.keys
    left = tmp_path / "export-left"
    left.mkdir(0o700)
    (left / "spool.db").write_bytes(b"sealed records")
    with RecordSpool(tmp_path, sealed, keys) as at_work:
        assert not left.exists()
        exported.export(at_work)
        with RecordSpool(tmp_path, sealed, keys):
            assert at_work.patients("number", "P100")
        left.mkdir(0o700)
        assert remove_abandoned_exports(tmp_path) == 1
        assert at_work.patients("number", "P100")
    assert list(tmp_path.glob("export-*")) == []


def test_study_is_found_by_accession_and_by_number_too(
    exported: Exported, spool: RecordSpool
) -> None:
    exported.fhir.resources = [
        a_patient(),
        the_study(identifier=[i for i in the_study()["identifier"] if "type" in i]),
    ]
    archive = exported.archive(spool, exported.export(spool))
    by_accession = an_archived_study(patient_id_value=None, study_instance_uid="1.2.3")
    with pytest.raises(CdsError, match="could not be confirmed"):
        archive.case_of(by_accession)  # found, yet nothing ties the picture to the patient
    by_number = archive.case_of(
        an_archived_study(study_instance_uid="1.2.4", accession_number=None)
    )
    assert by_number is not None
    assert by_number.patient_value == "P100"
    assert (
        archive.case_of(
            an_archived_study(
                patient_id_value="P9", accession_number=None, study_instance_uid="1.2.5"
            )
        )
        is None
    )


def test_number_of_two_patients_is_refused(exported: Exported, spool: RecordSpool) -> None:
    exported.fhir.resources = [
        a_patient(),
        a_patient(id="p7", identifier=[{"system": MRN_SYSTEM, "value": "P100"}]),
    ]
    archive = exported.archive(spool, exported.export(spool))
    with pytest.raises(CdsError) as refused:
        archive.case_of(an_archived_study())
    assert refused.value.reason is Reason.IDENTITY_MISMATCH


def test_events_that_the_export_holds_for_anybody_count_as_kept(
    exported: Exported, spool: RecordSpool
) -> None:
    begun = a_procedure("40617009", "2024-01-01T00:00:00Z")
    exported.fhir.resources.append({**begun, "subject": {"reference": "Patient/p100-2"}})
    case = exported.archive(spool, exported.export(spool)).case_of(an_archived_study())
    assert case is not None
    assert ("ventilation", 0.0) in {(o.code, o.value) for o in case.outcomes}


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_lines_are_the_same_however_they_are_cut(size: int) -> None:
    body = b'{"resourceType":"Patient","id":"a"}\n\nnot json\n{"resourceType":"Other"}\r\n'
    body += b'{"resourceType":"Patient","id":"\xc3\xa4"}'
    kept: list[Any] = []
    lines = NdjsonLines("Patient", kept.extend)
    for start in range(0, len(body), size):
        lines(body[start : start + size])
    lines.finish()
    assert [r["id"] for r in kept] == ["a", "\xe4"]
    assert (lines.n_lines, lines.n_unusable) == (4, 2)


def test_large_resources_are_handed_on_before_they_fill_the_memory() -> None:
    sizes: list[int] = []
    lines = NdjsonLines("Patient", lambda batch: sizes.append(len(batch)))
    line = b'{"resourceType":"Patient","x":"' + b"a" * (MAX_LINE_BYTES - 64) + b'"}\n'
    for _ in range(5):
        lines(line)
    lines.finish()
    assert sum(sizes) == 5
    assert max(sizes) * len(line) <= BATCH_BYTES + MAX_LINE_BYTES


def test_line_without_an_end_is_refused() -> None:
    lines = NdjsonLines("Patient", lambda _: None)
    for _ in range(MAX_LINE_BYTES // 2**20):
        lines(b" " * 2**20)
    with pytest.raises(CdsError, match="longer than one resource"):
        lines(b" ")
