"""The reader of the record, at a strict FHIR server and at a weak one."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cds.adapters.egress import EgressClients
from cds.adapters.fhir_rest import RestFhirReader
from cds.adapters.storage import SystemClock
from cds.domain.errors import CdsError, Reason
from cds.domain.facts import Measurement
from cds.domain.patient import ClinicalContext
from cds.domain.secrecy import SecretText
from cds.domain.time_limit import TimeLimit
from cds.fhir.clinical_context import RecordResources, clinical_context
from cds.fhir.patient import demographics_from_patient
from cds.ports import FhirAccess
from tests.builders.hospital_patient import (
    a_film,
    a_hospital_patient,
    a_hospital_record,
    a_report_of,
    labs_of,
)
from tests.builders.registration import a_registration
from tests.servers.fhir_client import FhirClient

PACS = "https://pacs.example.invalid/dicomweb"
LIMIT_S = 60.0  # a busy machine must not decide
CUT = ("Observation: only the first ", "Observation: the EHR sent ")


def read(server: FhirClient, patient_id: str) -> ClinicalContext:
    registration = a_registration(
        fhir_base_url=server.base_url, permitted_networks=("127.0.0.0/8",)
    )
    reader = RestFhirReader(EgressClients(development=True), clock=SystemClock())
    return reader.read_context(
        FhirAccess(registration, SecretText("any"), patient_id),
        prefetch=None,
        deadline=TimeLimit(LIMIT_S),
        as_of=datetime.now(UTC),
    )


@pytest.fixture(params=["hapi", "medplum"])
def server(request: pytest.FixtureRequest) -> FhirClient:
    found: FhirClient = request.getfixturevalue(request.param)
    return found


@dataclass(frozen=True)
class Loaded:
    """One shared bundle: what it says, and its patient's id at a server."""

    name: str
    expected: ClinicalContext
    patient_id: str


@pytest.fixture(scope="module", params=["hapi", "medplum"])
def loaded(request: pytest.FixtureRequest, shared_dir: Path) -> tuple[FhirClient, list[Loaded]]:
    one: FhirClient = request.getfixturevalue(request.param)
    found = []
    for path in sorted((shared_dir / "data/fhir_synthea_r4/bundles").glob("*.json")):
        bundle = json.loads(path.read_text(encoding="utf-8"))
        references = one.load(bundle).values()
        (patient_id,) = (r.split("/")[1] for r in references if r.startswith("Patient/"))
        found.append(Loaded(path.name, context_of(bundle), patient_id))
    return one, found


def context_of(bundle: dict[str, Any]) -> ClinicalContext:
    """What the bundle itself says, without a server between."""

    def of_type(resource_type: str) -> tuple[dict[str, Any], ...]:
        resources = (entry["resource"] for entry in bundle["entry"])
        return tuple(r for r in resources if r["resourceType"] == resource_type)

    demographics = demographics_from_patient(of_type("Patient")[0])
    assert demographics is not None
    resources = RecordResources(
        conditions=of_type("Condition"),
        observations=tuple(o for o in of_type("Observation") if _is_searched(o)),
        imaging_studies=of_type("ImagingStudy"),
    )
    now = datetime.now(UTC)
    return clinical_context(demographics, resources, read_at=now, as_of=now)


def _is_searched(observation: dict[str, Any]) -> bool:
    """Tell whether it is a laboratory result or vital sign: spirometry, a "procedure", is not."""
    codes = {c["code"] for category in observation["category"] for c in category["coding"]}
    return bool(codes & {"laboratory", "vital-signs"})


def facts(context: ClinicalContext) -> dict[str, Any]:
    """What does not depend on the ids that a server gave."""
    return {
        "sex": context.demographics.sex,
        "born": context.demographics.birth_on,
        "history": Counter((flag.coding, flag.recorded_on) for flag in context.history),
        "studies": Counter((s.study_instance_uid, s.started_at) for s in context.studies),
    }


def test_record_when_read_from_a_server_is_what_was_loaded(
    loaded: tuple[FhirClient, list[Loaded]],
) -> None:
    server, records = loaded
    assert len(records) >= 13
    n_whole = 0
    for record in records:
        context = read(server, record.patient_id)
        assert facts(context) == facts(record.expected), record.name
        results, expected = Counter(context.measurements), Counter(record.expected.measurements)
        assert results
        if context.missing == ():
            assert results == expected, record.name
            n_whole += 1
            continue
        # More results than one call may read: that is said, and the newest ones were read.
        (sentence,) = context.missing
        assert sentence.startswith(CUT)
        assert results <= expected
        oldest_read = min(map(_observed_at, results))
        assert all(one in results for one in expected if _observed_at(one) > oldest_read)
    assert n_whole > len(records) / 2


def _observed_at(one: Measurement) -> datetime:
    assert one.observed_at is not None
    return one.observed_at


def test_record_when_complete_has_labs_history_and_the_pacs_of_the_film(
    server: FhirClient,
) -> None:
    started_at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    for resource in a_hospital_record("complete", "2.25.7001", started_at, PACS):
        server.put(resource)
    context = read(server, "complete")
    assert context.missing == ()
    assert [m.code for m in context.measurements] == ["1988-5", "6690-2", "731-0"]
    assert [flag.coding.code for flag in context.history] == ["84114007"]
    (study,) = context.studies
    assert (study.study_instance_uid, study.started_at) == ("2.25.7001", started_at)
    assert study.dicomweb_url == PACS  # by `_include`, or read one by one where it is ignored


def test_results_when_they_fill_pages_are_read_over_the_links(hapi: FhirClient) -> None:
    now = datetime.now(UTC)
    hapi.put(a_hospital_patient("pages"))
    for minute in range(60):
        (lab,) = labs_of(
            "pages", now - timedelta(minutes=minute), [("2524-7", 1 + minute / 4, "mmol/L")]
        )
        hapi.put({**lab, "id": f"pages-{minute}"})
    first = hapi.search("Observation?patient=Patient/pages&_count=200")
    assert len(first["entry"]) < 60  # the server's own page is smaller than what we ask for
    context = read(hapi, "pages")
    assert sorted(m.value for m in context.measurements) == [1 + n / 4 for n in range(60)]
    assert context.missing == ()


def test_results_when_the_server_sends_a_part_without_a_link_are_said_to_be_missing(
    medplum: FhirClient,
) -> None:
    now = datetime.now(UTC)
    medplum.put(a_hospital_patient("cut"))
    for minute in range(210):
        (lab,) = labs_of("cut", now - timedelta(minutes=minute), [("2524-7", 1.0, "mmol/L")])
        medplum.put({**lab, "id": f"cut-{minute}"})
    context = read(medplum, "cut")
    assert len(context.measurements) == 200
    assert context.missing == ("Observation: the EHR sent 200 of 210.",)


@pytest.fixture
def arriving(hapi: FhirClient, request: pytest.FixtureRequest) -> str:
    patient_id = f"arriving-{abs(hash(request.node.name)) % 10**8}"
    hapi.put(a_hospital_patient(patient_id))
    return patient_id


Arrive = Callable[[FhirClient, str], None]


def _study(server: FhirClient, patient_id: str) -> None:
    for resource in a_film(patient_id, "2.25.7002", datetime.now(UTC), PACS):
        server.put(resource)


def _lab(server: FhirClient, patient_id: str) -> None:
    for resource in labs_of(patient_id, datetime.now(UTC)):
        server.put(resource)


@pytest.mark.parametrize(
    ("search", "arrive", "found"),
    [
        pytest.param(
            "ImagingStudy?patient=Patient/{}&_include=ImagingStudy:endpoint&_count=50",
            _study,
            lambda context: context.studies,
            id="study",
        ),
        pytest.param(
            "Observation?patient=Patient/{}&category=laboratory,vital-signs&_sort=-date&_count=200",
            _lab,
            lambda context: context.measurements,
            id="lab",
        ),
    ],
)
def test_record_when_it_grew_a_second_ago_is_seen_despite_the_cache(
    hapi: FhirClient,
    arriving: str,
    search: str,
    arrive: Arrive,
    found: Callable[[ClinicalContext], tuple[object, ...]],
) -> None:
    plain = search.format(arriving)
    assert not found(read(hapi, arriving))
    assert "entry" not in hapi.search(plain)
    arrive(hapi, arriving)
    assert "entry" not in hapi.search(plain)  # HAPI still answers from its cache
    assert found(read(hapi, arriving))


def test_film_when_it_is_reported_meanwhile_is_seen_as_reported(hapi: FhirClient) -> None:
    started_at = datetime.now(UTC) - timedelta(hours=1)
    for resource in a_hospital_record("reported", "2.25.7003", started_at, PACS):
        hapi.put(resource)
    assert read(hapi, "reported").studies[0].report_state == "none"
    hapi.put(a_report_of("reported", datetime.now(UTC)))
    assert read(hapi, "reported").studies[0].report_state == "final"


def test_patient_when_unknown_is_said_in_words(server: FhirClient) -> None:
    with pytest.raises(CdsError, match="does not know this patient") as caught:
        read(server, "nobody-of-this-name")
    assert caught.value.reason is Reason.MISSING_CONTEXT
