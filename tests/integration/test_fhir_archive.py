"""The record of an archived study over HTTP: found, whole, bounded, or refused with a reason."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cds.adapters.archive_requests import ArchiveLimits, ArchiveRequests
from cds.adapters.egress import EgressClients
from cds.adapters.fhir_archive import FhirRecordArchive
from cds.adapters.fhir_search_records import SearchedRecords
from cds.domain.archive import ArchivedStudy
from cds.domain.errors import CdsError, Reason
from cds.domain.recorded_case import RecordedCase
from cds.domain.secrecy import SecretText
from tests.builders.certificate import a_certificate
from tests.builders.dicom import STUDY_INSTANCE_UID
from tests.builders.fhir import MRN_SYSTEM, Resource, a_patient, an_operation_outcome
from tests.builders.hospital_record import a_procedure, a_value, a_visit, the_record, the_study
from tests.builders.registration import a_registration
from tests.fakes.archives import Waiting, an_archived_study
from tests.fakes.clock import FixedClock
from tests.fakes.http_server import Asked, LocalServer, Reply, a_server
from tests.fakes.record_server import TOKEN, RecordServer


class Hospital:
    """A FHIR server, and the archive over it."""

    def __init__(self, fhir: RecordServer, server: LocalServer) -> None:
        self.fhir = fhir
        self.server = server
        fhir.base_url = f"{server.url}/fhir"
        self.clock = FixedClock()
        self.waiting = Waiting(self.clock)
        self.tokens = [TOKEN]

    def forget_token(self) -> None:
        self.tokens = self.tokens[1:] or self.tokens

    def archive(self, limits: ArchiveLimits | None = None, **overrides: Any) -> FhirRecordArchive:
        registration = a_registration(
            **{
                "fhir_base_url": self.fhir.base_url,
                "permitted_networks": ("127.0.0.0/8",),
                **overrides,
            }
        )
        requests = ArchiveRequests(
            EgressClients(development=True)(registration),
            lambda: SecretText(self.tokens[0]) if self.tokens else None,
            limits=limits or ArchiveLimits(request_s=5.0),
            on_refused=self.forget_token,
            sleep=self.waiting,
        )
        return FhirRecordArchive(
            SearchedRecords(requests, registration), registration, clock=self.clock
        )

    def case(
        self, study: ArchivedStudy | None = None, limits: ArchiveLimits | None = None, **more: Any
    ) -> RecordedCase | None:
        return self.archive(limits, **more).case_of(study or an_archived_study())

    def asked(self, kind: str) -> list[Asked]:
        return [a for a in self.server.asked if a.path.startswith(f"/fhir/{kind}")]


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    fhir = RecordServer(*the_record())
    with a_server(fhir) as server:
        yield Hospital(fhir, server)


def refusal(hospital: Hospital, **options: Any) -> CdsError:
    with pytest.raises(CdsError) as caught:
        hospital.case(**options)
    return caught.value


def test_study_is_found_by_its_uid_and_joined(hospital: Hospital) -> None:
    case = hospital.case()
    assert case is not None
    assert case.patient_value == "P100"
    assert [m.code for m in case.measurements] == ["1988-5"]
    first = hospital.server.asked[0]
    assert first.query["identifier"] == [f"urn:dicom:uid|urn:oid:{STUDY_INSTANCE_UID}"]
    for asked in hospital.server.asked:
        assert asked.headers["cache-control"] == "no-cache"  # HAPI's cache of 60 s
        assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    (values,) = hospital.asked("Observation")
    assert values.query["patient"] == ["Patient/p100"]  # Medplum finds nothing for a bare id
    assert values.query["date"] == ["ge2024-08-16", "le2025-03-06"]


def test_study_without_uid_in_the_record_is_found_by_accession(hospital: Hospital) -> None:
    number = [i for i in the_study()["identifier"] if "type" in i]
    hospital.fhir.resources = [
        the_study(identifier=number) if r["resourceType"] == "ImagingStudy" else r
        for r in hospital.fhir.resources
    ]
    case = hospital.case()
    assert case is not None
    assert case.study.imaging_study_id == "is1"
    assert case.study.study_instance_uid == STUDY_INSTANCE_UID


def test_study_that_is_not_recorded_is_found_by_the_patients_number(hospital: Hospital) -> None:
    hospital.fhir.resources = [
        r for r in hospital.fhir.resources if r["resourceType"] != "ImagingStudy"
    ]
    case = hospital.case()
    assert case is not None
    (patients,) = [a for a in hospital.asked("Patient") if a.path == "/fhir/Patient"]
    assert patients.query["identifier"] == [f"{MRN_SYSTEM}|P100"]


@pytest.mark.parametrize(
    "study",
    [
        an_archived_study(patient_id_value="P999"),
        an_archived_study(patient_id_value=None),
        an_archived_study(issuer="HOSPITAL-B"),
    ],
    ids=["unknown number", "no number", "other issuer"],
)
def test_study_that_names_nobody_here_is_unknown(hospital: Hospital, study: ArchivedStudy) -> None:
    hospital.fhir.resources = [
        r for r in hospital.fhir.resources if r["resourceType"] != "ImagingStudy"
    ]
    assert hospital.case(study) is None


def test_weak_server_that_ignores_filters_is_not_believed(hospital: Hospital) -> None:
    hospital.fhir.ignores_filters = True
    hospital.fhir.resources.append(the_study(id="x", identifier=[{"value": "urn:oid:1.2.3"}]))
    stranger = a_patient(id="other", identifier=[{"system": MRN_SYSTEM, "value": "P200"}])
    theirs = a_value("1988-5", 9, "mg/L", "2025-03-04T05:30:00Z")
    theirs = {**theirs, "subject": {"reference": "Patient/other"}}
    hospital.fhir.resources += [stranger, theirs]
    case = hospital.case()
    assert case is not None
    assert [m.value for m in case.measurements] == [112.0]
    assert case.patient_value == "P100"


def test_two_patients_with_one_number_are_refused(hospital: Hospital) -> None:
    hospital.fhir.resources = [a_patient(), a_patient(id="p101")]
    assert refusal(hospital).reason is Reason.IDENTITY_MISMATCH


def test_wrong_patient_behind_the_study_is_refused(hospital: Hospital) -> None:
    hospital.fhir.resources[0] = a_patient(identifier=[{"system": MRN_SYSTEM, "value": "P555"}])
    error = refusal(hospital)
    assert error.reason is Reason.IDENTITY_MISMATCH
    assert "P555" not in str(error)
    hospital.fhir.instead["Patient"] = lambda _: Reply.json(a_patient(id="someone-else"))
    assert "another patient" in refusal(hospital).sentence


def test_patient_who_was_merged_into_another_is_one_person(hospital: Hospital) -> None:
    newest = {"other": {"reference": "Patient/p200"}, "type": "replaced-by"}
    hospital.fhir.resources[0] = a_patient(active=False, link=[newest])
    merged = a_patient(id="p200", identifier=[{"system": MRN_SYSTEM, "value": "P200"}])
    later = a_visit("2026-05-01T10:00:00Z", subject={"reference": "Patient/p200"})
    hospital.fhir.resources += [merged, later]
    case = hospital.case()
    assert case is not None
    assert case.patient_value == "P100"  # as the picture names the patient
    assert {i.value for i in case.demographics.identifiers} == {"P100", "P200"}
    assert [m.code for m in case.measurements] == ["1988-5"]
    assert case.missing == ()


def test_pages_are_followed_to_the_end(hospital: Hospital) -> None:
    times = [f"2025-03-03T{h:02d}:{m:02d}:00Z" for h in range(6, 18) for m in (0, 20, 40)]
    hospital.fhir.resources += [a_value("2524-7", 4, "mmol/L", at) for at in times]
    hospital.fhir.page_size = 7
    case = hospital.case()
    assert case is not None
    assert len(hospital.asked("Observation")) == 6


def test_endless_next_is_refused_with_a_reason(hospital: Hospital) -> None:
    def always_more(asked: Asked) -> Reply:
        page = int(asked.query.get("page", ["0"])[0]) + 1
        url = f"{hospital.fhir.base_url}/Observation?page={page}"
        return Reply.json(
            {
                "resourceType": "Bundle",
                "entry": [{"resource": a_value("1988-5", 1, "mg/L", "2025-03-04T05:00:00Z")}],
                "link": [{"relation": "next", "url": url}],
            }
        )

    hospital.fhir.instead["Observation"] = always_more
    error = refusal(hospital, limits=ArchiveLimits(max_pages=9))
    assert error.reason is Reason.UPSTREAM_FAILED
    assert "no end" in error.sentence
    assert len(hospital.asked("Observation")) == 9


def test_next_that_repeats_itself_is_refused_at_once(hospital: Hospital) -> None:
    own = f"{hospital.fhir.base_url}/Condition?page=1"
    loop = {"resourceType": "Bundle", "link": [{"relation": "next", "url": own}]}
    hospital.fhir.instead["Condition"] = lambda _: Reply.json(loop)
    assert "no end" in refusal(hospital).sentence
    assert len(hospital.asked("Condition")) == 2


def test_next_at_another_origin_is_refused_and_gets_no_token(hospital: Hospital) -> None:
    with a_server(lambda _: Reply.json({"resourceType": "Bundle"})) as thief:
        away = {
            "resourceType": "Bundle",
            "link": [{"relation": "next", "url": f"{thief.url}/fhir/Condition?page=2"}],
        }
        hospital.fhir.instead["Condition"] = lambda _: Reply.json(away)
        assert "outside this FHIR server" in refusal(hospital).sentence
        assert thief.asked == []


FAILURES: dict[str, tuple[Callable[[Asked], Reply], Reason]] = {
    "403": (lambda _: Reply(403), Reason.UPSTREAM_REFUSED),
    "404": (lambda _: Reply(404), Reason.NOT_FOUND),
    "500": (lambda _: Reply(500), Reason.UPSTREAM_FAILED),
    "redirect": (
        lambda _: Reply(302, headers={"Location": "http://127.0.0.1:1/"}),
        Reason.UPSTREAM_FAILED,
    ),
    "not json": (lambda _: Reply(200, b"<html>"), Reason.UPSTREAM_FAILED),
    "outcome": (lambda _: Reply.json(an_operation_outcome()), Reason.UPSTREAM_FAILED),
    "2 GB": (
        lambda _: Reply(200, headers={"Content-Length": str(2 * 1024**3)}, chunks=[b" "]),
        Reason.UPSTREAM_FAILED,
    ),
    "endless body": (
        lambda _: Reply(200, chunks=(b" " * 65536 for _ in range(10_000))),
        Reason.UPSTREAM_FAILED,
    ),
}


@pytest.mark.parametrize("kind", ["Patient", "ImagingStudy", "Observation"])
@pytest.mark.parametrize("failure", FAILURES)
def test_failure_of_what_a_case_needs_fails_the_case(
    hospital: Hospital, failure: str, kind: str
) -> None:
    answer, reason = FAILURES[failure]
    hospital.fhir.instead[kind] = answer
    error = refusal(hospital, limits=ArchiveLimits(request_s=5.0, max_answer_bytes=200_000))
    assert error.reason is reason
    assert "P100" not in str(error)


@pytest.mark.parametrize("status", [400, 403, 404, 501])
def test_parts_that_are_not_offered_leave_a_case_with_a_gap(
    hospital: Hospital, status: int
) -> None:
    for kind in ("Procedure", "Consent", "Encounter"):
        hospital.fhir.instead[kind] = lambda _: Reply(status)
    case = hospital.case()
    assert case is not None
    assert "Encounter: the EHR did not give it." in case.missing
    assert all(o.value != 0.0 for o in case.outcomes)


def test_parts_that_fail_do_not_pass_for_absent(hospital: Hospital) -> None:
    hospital.fhir.instead["Procedure"] = lambda _: Reply(500)
    assert refusal(hospital).reason is Reason.UPSTREAM_FAILED


def test_busy_server_is_asked_again_after_the_time_it_names(hospital: Hospital) -> None:
    hospital.fhir.busy["/fhir/Condition"] = 2
    assert hospital.case() is not None
    assert hospital.waiting.slept_s == [7.0, 7.0]
    hospital.fhir.busy["/fhir/Condition"] = 99
    assert "each of 4 times" in refusal(hospital).sentence


def test_token_that_is_refused_is_replaced_once(hospital: Hospital) -> None:
    hospital.tokens = ["stale", TOKEN]
    assert hospital.case() is not None
    hospital.tokens = ["stale"]
    error = refusal(hospital)
    assert (error.reason, error.facts["status"]) == (Reason.UPSTREAM_REFUSED, 401)


def test_open_server_gets_no_token(hospital: Hospital) -> None:
    hospital.fhir.token, hospital.tokens = None, []
    assert hospital.case() is not None
    assert all("authorization" not in a.headers for a in hospital.server.asked)


def test_server_that_hangs_or_is_away_fails_in_time(hospital: Hospital) -> None:
    slow = Reply(200, chunks=_trickle())
    hospital.fhir.instead["Condition"] = lambda _: slow
    assert refusal(hospital, limits=ArchiveLimits(request_s=0.4)).reason is Reason.DEADLINE
    away = a_registration(
        fhir_base_url="http://127.0.0.1:9/fhir", permitted_networks=("127.0.0.0/8",)
    )
    requests = ArchiveRequests(EgressClients(development=True)(away), lambda: None)
    with pytest.raises(CdsError, match="cannot be reached"):
        requests.search("Patient", [])


def _trickle() -> Iterator[bytes]:
    from time import sleep

    for _ in range(50):
        sleep(0.05)
        yield b" "


def test_certificate_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    files = a_certificate(tmp_path, "ehr.example.invalid")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    with a_server(RecordServer(*the_record()), context) as server:
        registration = a_registration(
            fhir_base_url=f"https://127.0.0.1:{server.port}/fhir",
            permitted_networks=("127.0.0.0/8",),
        )
        requests = ArchiveRequests(EgressClients()(registration), lambda: None)
        with pytest.raises(CdsError, match="certificate"):
            requests.search("Patient", [])


def test_events_count_as_kept_only_where_the_server_shows_one(hospital: Hospital) -> None:
    bare = hospital.case()
    assert bare is not None
    assert ("ventilation", 7) not in {(o.code, o.horizon_days) for o in bare.outcomes}
    someone: Resource = a_procedure("40617009", "2024-01-01T00:00:00Z")
    someone = {**someone, "subject": {"reference": "Patient/other"}}
    hospital.fhir.resources.append(someone)
    case = hospital.case()
    assert case is not None
    assert {(o.code, o.value) for o in case.outcomes} >= {("ventilation", 0.0)}


def test_failures_leave_no_identity_in_the_logs(
    hospital: Hospital, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hospital.fhir.instead["Observation"] = lambda _: Reply(500)
    refusal(hospital)
    for seeded in ("P100", "p100", STUDY_INSTANCE_UID, TOKEN, "A-1"):
        assert seeded not in caplog.text
