from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cds.adapters.egress import EgressClients
from cds.adapters.fhir_requests import ReaderLimits
from cds.adapters.fhir_rest import RestFhirReader
from cds.domain.errors import CdsError, Reason
from cds.domain.patient import ClinicalContext
from cds.domain.secrecy import SecretText
from cds.domain.study import ReportState
from cds.domain.time_limit import TimeLimit
from cds.ports import FhirAccess
from tests.builders.fhir import (
    PATIENT_ID,
    a_bundle,
    a_condition,
    a_diagnostic_report,
    a_patient,
    a_service_request,
    an_endpoint,
    an_imaging_study,
    an_observation,
    an_operation_outcome,
)
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock
from tests.fakes.fhir_server import TOKEN, FhirServer
from tests.fakes.http_server import Asked, LocalServer, Reply, a_server

AS_OF = datetime(2026, 1, 6, 12, 0, tzinfo=UTC)
EVERYTHING = {
    "patient": a_patient(),
    "conditions": a_bundle(a_condition()),
    "observations": a_bundle(an_observation()),
    "imagingStudies": a_bundle(an_imaging_study()),
    "diagnosticReports": a_bundle(),
    "serviceRequests": None,
}
OTHER = {"reference": "Patient/someone-else"}


class Hospital:
    """A FHIR server, and the reader that asks it."""

    def __init__(self, fhir: FhirServer, server: LocalServer) -> None:
        self.fhir = fhir
        self.server = server
        fhir.base_url = f"{server.url}/fhir"

    def read(
        self,
        prefetch: dict[str, Any] | None = None,
        *,
        token: str | None = TOKEN,
        limits: ReaderLimits | None = None,
        seconds: float = 10,
        patient_id: str = PATIENT_ID,
    ) -> ClinicalContext:
        registration = a_registration(
            fhir_base_url=self.fhir.base_url, permitted_networks=("127.0.0.0/8",)
        )
        reader = RestFhirReader(EgressClients(development=True), clock=FixedClock(), limits=limits)
        secret = SecretText(token) if token else None
        return reader.read_context(
            FhirAccess(registration, secret, patient_id),
            prefetch=prefetch,
            deadline=TimeLimit(seconds),
            as_of=AS_OF,
        )

    def asked(self, resource_type: str) -> list[Asked]:
        return [a for a in self.server.asked if f"/{resource_type}" in a.path]


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    fhir = FhirServer(
        a_patient(),
        a_condition(),
        an_observation(),
        an_imaging_study(endpoint=[{"reference": "Endpoint/e1"}]),
        an_endpoint("http://127.0.0.1:1/dicomweb"),
        a_service_request(),
    )
    with a_server(fhir) as server:
        yield Hospital(fhir, server)


def refusal(hospital: Hospital, prefetch: dict[str, Any] | None = None, **options: Any) -> CdsError:
    with pytest.raises(CdsError) as caught:
        hospital.read(prefetch, **options)
    return caught.value


def test_whole_record_is_read_by_rest(hospital: Hospital) -> None:
    context = hospital.read()
    assert context.demographics.display_name == "Test Person"
    assert [flag.coding.code for flag in context.history] == ["84114007"]
    assert [m.code for m in context.measurements] == ["1988-5"]
    assert [s.accession_number for s in context.studies] == ["A-7", "A-1"]
    assert context.studies[1].dicomweb_url == "http://127.0.0.1:1/dicomweb"
    assert context.missing == ()
    assert context.read_at == datetime(2026, 1, 6, 4, 30, tzinfo=UTC)


def test_requests_name_the_type_and_ask_for_fresh_studies(hospital: Hospital) -> None:
    hospital.read()
    assert len(hospital.server.asked) == 6
    for asked in hospital.server.asked:
        assert "json" in asked.headers["accept"]
        if asked.path != f"/fhir/Patient/{PATIENT_ID}":
            assert asked.query["patient"] == [f"Patient/{PATIENT_ID}"]
    (studies,) = hospital.asked("ImagingStudy")
    assert studies.headers["cache-control"] == "no-cache"
    (observations,) = hospital.asked("Observation")
    assert observations.query["category"] == ["laboratory,vital-signs"]


def test_complete_prefetch_needs_no_request_and_no_token(hospital: Hospital) -> None:
    context = hospital.read(EVERYTHING, token=None)
    assert hospital.server.asked == []
    assert [s.accession_number for s in context.studies] == ["A-1"]
    assert context.missing == ()


@pytest.mark.parametrize(
    ("prefetch", "is_fetched", "n_found"),
    [
        pytest.param({}, True, 1, id="absent"),
        pytest.param({"observations": None}, False, 0, id="null"),
        pytest.param({"observations": a_bundle()}, False, 0, id="empty-bundle"),
        pytest.param({"observations": an_operation_outcome()}, True, 1, id="operation-outcome"),
        pytest.param(
            {"observations": a_bundle(an_operation_outcome())}, True, 1, id="outcome-as-entry"
        ),
        pytest.param({"observations": a_bundle(an_observation())}, False, 1, id="data"),
        pytest.param({"observations": "rubbish"}, True, 1, id="no-fhir"),
    ],
)
def test_each_prefetch_case_is_told_apart(
    hospital: Hospital, prefetch: dict[str, Any], is_fetched: bool, n_found: int
) -> None:
    rest = {key: value for key, value in EVERYTHING.items() if key != "observations"}
    context = hospital.read({**rest, **prefetch})
    assert bool(hospital.asked("Observation")) is is_fetched
    assert len(context.measurements) == n_found


def test_absent_and_failed_parts_are_named_when_there_is_no_token(hospital: Hospital) -> None:
    prefetch = {"patient": a_patient(), "observations": an_operation_outcome()}
    context = hospital.read(prefetch, token=None)
    assert hospital.server.asked == []
    assert "Observation: the EHR could not read it." in context.missing
    assert "ImagingStudy: not sent by the EHR." in context.missing


@pytest.mark.parametrize(
    "prefetch",
    [
        pytest.param({**EVERYTHING, "patient": a_patient(id="someone-else")}, id="patient"),
        pytest.param(
            {**EVERYTHING, "observations": a_bundle(an_observation(subject=OTHER))}, id="subject"
        ),
        pytest.param(
            {
                **EVERYTHING,
                "imagingStudies": a_bundle(an_imaging_study(), an_imaging_study(subject=OTHER)),
            },
            id="one-of-two",
        ),
    ],
)
def test_prefetch_about_another_patient_is_an_identity_mismatch(
    hospital: Hospital, prefetch: dict[str, Any]
) -> None:
    error = refusal(hospital, prefetch)
    assert error.reason == Reason.IDENTITY_MISMATCH
    assert "someone-else" not in f"{error}{error.facts}"
    assert hospital.server.asked == []


def test_resource_about_another_patient_read_by_rest_is_left_out_and_named(
    hospital: Hospital,
) -> None:
    mixed = a_bundle(an_observation(), an_observation("2160-0", 1.1, "mg/dL", subject=OTHER))
    hospital.fhir.instead["Observation"] = lambda _: Reply.json(mixed)
    context = hospital.read()
    assert [m.code for m in context.measurements] == ["1988-5"]
    assert context.missing == ("Observation: 1 not about this patient were left out.",)


def test_ehr_that_answers_with_another_patient_is_an_identity_mismatch(hospital: Hospital) -> None:
    hospital.fhir.instead["Patient"] = lambda _: Reply.json(a_patient(id="someone-else"))
    assert refusal(hospital).reason == Reason.IDENTITY_MISMATCH


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(Reply(404), Reason.MISSING_CONTEXT, id="unknown"),
        pytest.param(Reply(403), Reason.UPSTREAM_REFUSED, id="forbidden"),
        pytest.param(Reply(503), Reason.UPSTREAM_FAILED, id="down"),
        pytest.param(Reply(body=b"<html>"), Reason.UPSTREAM_FAILED, id="no-json"),
        pytest.param(Reply.json([1]), Reason.UPSTREAM_FAILED, id="no-object"),
    ],
)
def test_patient_that_cannot_be_read_is_a_reason(
    hospital: Hospital, reply: Reply, reason: Reason
) -> None:
    hospital.fhir.instead["Patient"] = lambda _: reply
    assert refusal(hospital).reason == reason


@pytest.mark.parametrize(
    ("prefetch", "token"),
    [({}, None), ({"patient": None}, TOKEN), ({"patient": None}, None)],
    ids=["nothing", "null-with-token", "null"],
)
def test_patient_that_can_be_had_neither_way_is_missing_context(
    hospital: Hospital, prefetch: dict[str, Any], token: str | None
) -> None:
    assert refusal(hospital, prefetch, token=token).reason == Reason.MISSING_CONTEXT


@pytest.mark.parametrize("patient_id", ["../Practitioner/1", "a/b", "", "x" * 65])
def test_patient_id_that_could_change_the_path_is_refused(
    hospital: Hospital, patient_id: str
) -> None:
    assert refusal(hospital, patient_id=patient_id).reason == Reason.INVALID_REQUEST
    assert hospital.server.asked == []


def test_other_parts_that_fail_are_named_and_the_rest_is_used(hospital: Hospital) -> None:
    hospital.fhir.instead["Observation"] = lambda _: Reply(503)
    hospital.fhir.instead["Condition"] = lambda _: Reply.json(an_operation_outcome())
    context = hospital.read()
    assert context.studies
    assert context.missing == (
        "Observation: the EHR answered 503.",
        "Condition: the EHR answered without data.",
    )


def many_observations(n: int) -> list[dict[str, Any]]:
    return [an_observation("2160-0", 1 + i / 100, "mg/dL", id=f"o{i}") for i in range(n)]


def test_pages_are_followed_as_far_as_the_limits_go(hospital: Hospital) -> None:
    hospital.fhir.resources += many_observations(9)
    hospital.fhir.page_size = 4
    whole = hospital.read(limits=ReaderLimits(max_requests=20))
    assert len(whole.measurements) == 10
    cut = hospital.read(limits=ReaderLimits(max_requests=20, max_pages=2))
    assert len(cut.measurements) == 8
    assert cut.missing == ("Observation: only the first 2 pages were read.",)


@pytest.mark.parametrize(
    ("total", "missing"),
    [
        (3, ("Condition: the EHR sent 1 of 3.",)),
        (1, ()),
        (None, ()),
        ("3", ()),  # no number: nothing is known
    ],
)
def test_part_without_a_link_to_the_rest_is_said_to_be_one(
    hospital: Hospital, total: object, missing: tuple[str, ...]
) -> None:
    answer = {**a_bundle(a_condition()), "total": total}
    hospital.fhir.instead["Condition"] = lambda _asked: Reply.json(answer)
    assert hospital.read().missing == missing


def test_requests_of_a_reading_stay_within_the_budget(hospital: Hospital) -> None:
    hospital.fhir.resources += many_observations(30)
    hospital.fhir.page_size = 2
    context = hospital.read()
    assert len(hospital.server.asked) <= ReaderLimits().max_requests
    assert any("were read" in sentence for sentence in context.missing)


def test_bytes_of_a_reading_stay_within_the_budget(hospital: Hospital) -> None:
    hospital.fhir.resources += many_observations(60)
    context = hospital.read(limits=ReaderLimits(max_bytes=8000))
    assert context.measurements == ()
    assert any(s.startswith("Observation: the EHR answered with more") for s in context.missing)


def test_next_link_to_another_origin_is_not_followed_and_gets_no_token(hospital: Hospital) -> None:
    with a_server(lambda _: Reply.json(a_bundle())) as thief:
        page = a_bundle(an_observation(), next_url=f"{thief.url}/fhir/Observation?page=2")
        hospital.fhir.instead["Observation"] = lambda _: Reply.json(page)
        context = hospital.read()
        assert thief.asked == []
    assert context.measurements
    assert context.missing == (
        "Observation: further pages lie outside this FHIR server and were not read.",
    )


@pytest.mark.parametrize(
    "path",
    [
        "/other-hospital/fhir/Observation",
        "/fhir-of-others/Observation",
        "/fhir/../b/Observation",
        "/fhir/%2e%2e/b/Observation",
    ],
)
def test_next_link_to_another_server_of_the_origin_is_not_followed(
    hospital: Hospital, path: str
) -> None:
    page = a_bundle(an_observation(), next_url=f"{hospital.server.url}{path}?page=2")
    hospital.fhir.instead["Observation"] = lambda _: Reply.json(page)
    context = hospital.read()
    assert [asked.path for asked in hospital.asked("Observation")] == ["/fhir/Observation"]
    assert context.missing == (
        "Observation: further pages lie outside this FHIR server and were not read.",
    )


def test_next_link_to_the_base_itself_is_followed(hospital: Hospital) -> None:
    page = a_bundle(an_observation(), next_url=f"{hospital.fhir.base_url}?_getpages=1")
    hospital.fhir.instead["Observation"] = lambda _: Reply.json(page)
    hospital.read()
    assert "/fhir" in [asked.path for asked in hospital.server.asked]


def test_prefetched_first_page_is_completed_with_the_token(hospital: Hospital) -> None:
    hospital.fhir.resources += many_observations(3)
    hospital.fhir.page_size = 2
    next_url = f"{hospital.fhir.base_url}/Observation?patient=Patient/{PATIENT_ID}&page=2"
    first = a_bundle(an_observation(), *many_observations(1), next_url=next_url)
    context = hospital.read({**EVERYTHING, "observations": first})
    assert len(context.measurements) == 4
    without = hospital.read({**EVERYTHING, "observations": first}, token=None)
    assert without.missing == ("Observation: only the first page was sent.",)


def test_endpoint_that_was_not_included_is_read(hospital: Hospital) -> None:
    study = an_imaging_study(endpoint=[{"reference": "Endpoint/e1"}])
    context = hospital.read({**EVERYTHING, "imagingStudies": a_bundle(study)})
    assert [a.path for a in hospital.server.asked] == ["/fhir/Endpoint/e1"]
    assert context.studies[0].dicomweb_url == "http://127.0.0.1:1/dicomweb"


def test_report_of_the_same_answer_gives_the_state(hospital: Hospital) -> None:
    hospital.fhir.resources.append(a_diagnostic_report())
    context = hospital.read()
    states = {s.accession_number: s.report_state for s in context.studies}
    assert states["A-1"] is ReportState.FINAL


def test_slow_ehr_ends_at_the_records_share_of_the_deadline(hospital: Hospital) -> None:
    released = threading.Event()

    def slowly(_: Asked) -> Reply:
        released.wait(20)
        return Reply(503)

    hospital.fhir.instead["Observation"] = slowly
    context = hospital.read(seconds=1.0)
    released.set()
    assert context.missing == ("Observation: the EHR did not answer in time.",)


def test_nothing_about_the_patient_or_token_is_logged(
    hospital: Hospital, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hospital.fhir.instead["Observation"] = lambda _: Reply(503)
    context = hospital.read()
    for secret in (TOKEN, PATIENT_ID, "Test Person", "1959"):
        assert secret not in caplog.text
        assert secret not in repr(context)
