"""The reader at Medplum's FHIR router: no links, no `_include`, nothing for a bare patient id."""

from datetime import UTC, datetime, timedelta

import pytest

from cds.adapters.archive_requests import ArchiveLimits, ArchiveRequests
from cds.adapters.egress import EgressClients
from cds.adapters.fhir_rest import RestFhirReader
from cds.adapters.storage import SystemClock
from cds.domain.errors import CdsError, Reason
from cds.domain.patient import ClinicalContext
from cds.domain.secrecy import SecretText
from cds.domain.time_limit import TimeLimit
from cds.ports import FhirAccess
from tests.builders.hospital_patient import a_hospital_patient, a_hospital_record, labs_of
from tests.builders.registration import a_registration
from tests.servers.fhir_client import FhirClient

PACS = "https://pacs.example.invalid/dicomweb"
STARTED_AT = datetime(2026, 1, 5, 4, 41, tzinfo=UTC)
LIMIT_S = 60.0  # a busy machine must not decide


def read(server: FhirClient, patient_id: str) -> ClinicalContext:
    registration = a_registration(
        fhir_base_url=server.base_url, permitted_networks=("127.0.0.0/8",)
    )
    reader = RestFhirReader(EgressClients(development=True), clock=SystemClock())
    return reader.read_context(
        FhirAccess(registration, SecretText("any"), patient_id),
        prefetch=None,
        deadline=TimeLimit(LIMIT_S),
        as_of=datetime(2026, 1, 6, tzinfo=UTC),
    )


@pytest.fixture(scope="module")
def weak_ehr(medplum: FhirClient) -> FhirClient:
    for resource in a_hospital_record("weak", "2.25.7101", STARTED_AT, PACS):
        medplum.put(resource)
    return medplum


def test_weak_ehr_when_asked_plainly_is_weak(weak_ehr: FhirClient) -> None:
    assert "entry" not in weak_ehr.search("Observation?patient=weak")
    studies = weak_ehr.search("ImagingStudy?patient=Patient/weak&_include=ImagingStudy:endpoint")
    assert [entry["resource"]["resourceType"] for entry in studies["entry"]] == ["ImagingStudy"]
    assert "link" not in weak_ehr.search("Observation?patient=Patient/weak&_count=1")


def test_record_when_read_there_has_labs_history_and_the_pacs_of_the_film(
    weak_ehr: FhirClient,
) -> None:
    context = read(weak_ehr, "weak")
    assert context.missing == ()
    assert sorted(m.code for m in context.measurements) == ["1988-5", "6690-2", "731-0"]
    assert [flag.coding.code for flag in context.history] == ["84114007"]
    (study,) = context.studies
    assert (study.study_instance_uid, study.dicomweb_url) == ("2.25.7101", PACS)


def test_results_when_more_than_a_page_are_said_to_be_a_part(weak_ehr: FhirClient) -> None:
    weak_ehr.put(a_hospital_patient("long"))
    for minute in range(201):
        taken_at = STARTED_AT - timedelta(minutes=minute)
        (lab,) = labs_of("long", taken_at, [("2524-7", 1 + minute / 100, "mmol/L")])
        weak_ehr.put({**lab, "id": f"long-{minute}"})
    context = read(weak_ehr, "long")
    assert context.missing == ("Observation: the EHR sent 200 of 201.",)
    assert max(m.value for m in context.measurements) < 3  # the oldest is the one that is missing


def test_import_when_it_would_get_a_part_is_refused(weak_ehr: FhirClient) -> None:
    registration = a_registration(
        fhir_base_url=weak_ehr.base_url, permitted_networks=("127.0.0.0/8",)
    )
    http = EgressClients(development=True)(registration)
    requests = ArchiveRequests(http, lambda: None, limits=ArchiveLimits(page_size=2))
    with pytest.raises(CdsError, match="Observation: the EHR sent 2 of 3 and no link") as caught:
        requests.search("Observation", [("patient", "Patient/weak")])
    assert caught.value.reason is Reason.UPSTREAM_FAILED
