from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from cds.domain.dates import PartialDate
from cds.domain.facts import Measurement, SetAside
from cds.domain.study import ReportState
from cds.fhir.bundle import answer_from_json, search_bundle
from cds.fhir.clinical_context import RecordResources, clinical_context
from cds.fhir.condition import history_from_condition
from cds.fhir.imaging_study import endpoint_ids, study_from_imaging_study, study_instance_uid
from cds.fhir.observation import measurements_from_observation
from cds.fhir.patient import demographics_from_patient
from cds.fhir.service_request import study_from_accession
from tests.builders.dicom import STUDY_INSTANCE_UID
from tests.builders.fhir import (
    ACSN,
    MRN_SYSTEM,
    SUBJECT,
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

AS_OF = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
AIAST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AIAST"}


def test_patient_keeps_identifiers_and_partial_birth_date() -> None:
    who = demographics_from_patient(a_patient(birthDate="1959-03"))
    assert who is not None
    assert (who.identifiers[0].value, who.identifiers[0].system) == ("P100", MRN_SYSTEM)
    assert who.birth_on == PartialDate(1959, 3)
    assert (who.sex, who.display_name, who.is_deceased) == ("female", "Test Person", False)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"name": "Person", "identifier": {}, "birthDate": 1959}, id="wrong-types"),
        pytest.param({"name": [{"given": "x"}], "gender": ["f"]}, id="wrong-inner-types"),
        pytest.param({"name": None, "identifier": [None, 3]}, id="nulls"),
    ],
)
def test_patient_of_odd_shape_is_read_as_far_as_it_goes(odd: dict[str, Any]) -> None:
    who = demographics_from_patient(a_patient(**odd))
    assert who is not None
    assert who.patient_id == "p100"
    assert who.display_name is None


def test_resource_that_is_no_patient_gives_none() -> None:
    assert demographics_from_patient({"resourceType": "Group", "id": "1"}) is None
    assert demographics_from_patient({"resourceType": "Patient"}) is None


def test_imaging_study_gives_uid_accession_modality_and_utc_time() -> None:
    study = study_from_imaging_study(an_imaging_study())
    assert study is not None
    assert study.study_instance_uid == STUDY_INSTANCE_UID
    assert study.accession_number == "A-1"
    assert study.imaging_study_id == "is1"
    assert (study.modality, study.body_part, study.label) == ("DX", "Chest", "Chest film")
    assert study.started_at == datetime(2026, 1, 5, 4, 41, tzinfo=UTC)
    assert study.report_state is ReportState.NONE


@pytest.mark.parametrize(
    ("identifiers", "uid"),
    [
        pytest.param([("urn:dicom:uid", "urn:oid:1.2")], "1.2", id="as-fhir-says"),
        pytest.param([("urn:dicom:uid", "1.2")], "1.2", id="bare"),
        pytest.param([("urn:ietf:rfc:3986", "urn:oid:1.2")], "1.2", id="as-synthea-says"),
        pytest.param([(None, "urn:oid:1.2")], "1.2", id="no-system"),
        pytest.param(
            [("urn:ietf:rfc:3986", "urn:oid:1.9"), ("urn:dicom:uid", "urn:oid:1.2")],
            "1.2",
            id="the-better-one",
        ),
        pytest.param([("urn:ietf:rfc:3986", "1.2"), (None, "1.2")], None, id="not-marked"),
        pytest.param([("urn:other", "urn:oid:1.2")], None, id="other-system"),
    ],
)
def test_study_uid_is_found_where_senders_put_it(
    identifiers: list[tuple[str | None, str]], uid: str | None
) -> None:
    written = [
        {"value": value, **({"system": system} if system else {})} for system, value in identifiers
    ]
    assert study_instance_uid({"identifier": written}) == uid


@pytest.mark.parametrize("uid", ["../../patients", "1.2/3", "", "1.2.3?x=1", "1" * 65])
def test_study_uid_that_could_change_a_path_is_not_taken(uid: str) -> None:
    resource = an_imaging_study(identifier=[{"system": "urn:dicom:uid", "value": uid}])
    assert study_from_imaging_study(resource) is None


@pytest.mark.parametrize(
    ("study", "addresses"),
    [
        pytest.param({"endpoint": [{"reference": "Endpoint/e1"}]}, {"e1": "https://a"}, id="read"),
        pytest.param(
            {"endpoint": [{"reference": "#e1"}], "contained": [an_endpoint("https://a/")]},
            {},
            id="contained",
        ),
    ],
)
def test_endpoint_gives_the_dicomweb_address(
    study: dict[str, Any], addresses: dict[str, str]
) -> None:
    found = study_from_imaging_study(an_imaging_study(**study), addresses=addresses)
    assert found is not None
    assert found.dicomweb_url == "https://a"


@pytest.mark.parametrize(
    "endpoint",
    [
        pytest.param(an_endpoint(status="off"), id="closed"),
        pytest.param(an_endpoint(connectionType={"code": "dicom-qido-rs"}), id="other-connection"),
        pytest.param(an_endpoint("file:///etc/passwd"), id="other-scheme"),
    ],
)
def test_endpoint_that_is_closed_or_of_another_kind_is_not_used(endpoint: dict[str, Any]) -> None:
    resource = an_imaging_study(contained=[endpoint])
    found = study_from_imaging_study(resource)
    assert found is not None
    assert found.dicomweb_url is None


def test_endpoint_ids_are_listed_once_from_study_and_series() -> None:
    reference = {"reference": "https://ehr.example.invalid/fhir/Endpoint/e9"}
    resource = an_imaging_study(endpoint=[reference], series=[{"endpoint": [reference]}])
    assert endpoint_ids(resource) == ("e9",)


@pytest.mark.parametrize(
    ("report", "state"),
    [
        pytest.param(a_diagnostic_report(), ReportState.FINAL, id="by-reference"),
        pytest.param(
            a_diagnostic_report(imagingStudy=[], identifier=[{"type": ACSN, "value": "A-1"}]),
            ReportState.FINAL,
            id="by-accession",
        ),
        pytest.param(
            a_diagnostic_report(imagingStudy=[], basedOn=[{"reference": "ServiceRequest/s9"}]),
            ReportState.FINAL,
            id="by-order",
        ),
        pytest.param(
            a_diagnostic_report(status="preliminary"), ReportState.PRELIMINARY, id="preliminary"
        ),
        pytest.param(a_diagnostic_report(status="registered"), ReportState.NONE, id="registered"),
        pytest.param(
            a_diagnostic_report(imagingStudy=[{"reference": "ImagingStudy/is2"}]),
            ReportState.NONE,
            id="other-study",
        ),
        pytest.param(
            a_diagnostic_report(meta={"security": [AIAST]}), ReportState.NONE, id="by-software"
        ),
    ],
)
def test_report_state_follows_the_most_advanced_human_report(
    report: dict[str, Any], state: ReportState
) -> None:
    resource = an_imaging_study(basedOn=[{"reference": "ServiceRequest/s9"}])
    study = study_from_imaging_study(resource, reports=[report])
    assert study is not None
    assert study.report_state is state


def test_order_gives_a_study_by_accession_number_without_uid() -> None:
    study = study_from_accession(a_service_request())
    assert study is not None
    assert (study.accession_number, study.study_instance_uid) == ("A-7", None)
    assert (study.modality, study.body_part) == ("DX", "Chest")
    assert study.started_at == datetime(2026, 1, 5, 6, 30, tzinfo=UTC)


def test_observation_gives_the_catalogue_value_with_its_time() -> None:
    (value,) = measurements_from_observation(an_observation())
    assert value == Measurement("1988-5", 112.0, "mg/L", datetime(2026, 1, 5, 3, 0, tzinfo=UTC))


def test_blood_pressure_panel_gives_both_pressures() -> None:
    def part(code: str, value: float) -> dict[str, Any]:
        unit = {
            "value": value,
            "unit": "mm[Hg]",
            "code": "mm[Hg]",
            "system": "http://unitsofmeasure.org",
        }
        return {
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "valueQuantity": unit,
        }

    panel = an_observation("85354-9", component=[part("8480-6", 92), part("8462-4", 50)])
    del panel["valueQuantity"]
    values = measurements_from_observation(panel)
    assert [(v.code, v.value) for v in values if isinstance(v, Measurement)] == [
        ("8480-6", 92.0),
        ("8462-4", 50.0),
    ]


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        pytest.param(an_observation(unit="furlong"), "unit not convertible", id="unit"),
        pytest.param(an_observation(value=1e9), "not plausible; unit?", id="implausible"),
        pytest.param(
            an_observation(effectiveDateTime="2026-01-05"),
            "no time of measurement",
            id="partial-time",
        ),
        pytest.param(
            an_observation(valueQuantity={"value": 5, "comparator": "<", "unit": "mg/L"}),
            "reported as a limit only",
            id="comparator",
        ),
        pytest.param(
            an_observation(valueQuantity={"value": 5}), "unit not convertible", id="no-unit"
        ),
    ],
)
def test_value_that_cannot_be_used_is_set_aside_with_its_reason(
    observation: dict[str, Any], reason: str
) -> None:
    (value,) = measurements_from_observation(observation)
    assert isinstance(value, SetAside)
    assert value.reason == reason


@pytest.mark.parametrize(
    "observation",
    [
        pytest.param(an_observation("99999-9"), id="unknown-code"),
        pytest.param(an_observation(valueQuantity={"value": "112"}), id="text-value"),
        pytest.param(an_observation(valueQuantity=[]), id="wrong-shape"),
        pytest.param({**an_observation(), "code": "1988-5"}, id="code-as-text"),
        pytest.param(an_observation(valueQuantity={"value": True}), id="boolean"),
    ],
)
def test_observation_without_a_usable_number_gives_nothing(observation: dict[str, Any]) -> None:
    assert measurements_from_observation(observation) == ()


def test_condition_gives_history_by_its_recorded_date() -> None:
    flag = history_from_condition(a_condition(onsetDateTime="2010-01-01"))
    assert flag is not None
    assert (flag.coding.code, flag.recorded_on, flag.is_active) == (
        "84114007",
        date(2020, 5, 1),
        True,
    )


def test_condition_that_ended_is_not_active() -> None:
    resolved = {"coding": [{"code": "resolved"}]}
    for ended in (a_condition(clinicalStatus=resolved), a_condition(abatementDateTime="2021")):
        flag = history_from_condition(ended)
        assert flag is not None
        assert not flag.is_active


def test_context_leaves_out_withdrawn_later_and_malformed_resources() -> None:
    error = {"coding": [{"code": "entered-in-error"}]}
    who = demographics_from_patient(a_patient())
    assert who is not None
    context = clinical_context(
        who,
        RecordResources(
            conditions=(
                a_condition(),
                a_condition(verificationStatus=error),
                a_condition(recordedDate="2027-01-01"),
                {"resourceType": "Condition", "subject": SUBJECT},
            ),
            observations=(
                an_observation(),
                an_observation("2160-0", 1.1, "mg/dL", status="entered-in-error"),
                an_observation("2160-0", 1.2, "mg/dL", effectiveDateTime="2026-01-06T00:00:00Z"),
                {"resourceType": "Observation", "subject": SUBJECT},
            ),
            imaging_studies=(
                an_imaging_study(),
                an_imaging_study(id="is2", status="entered-in-error"),
                an_imaging_study(id="is3", status="cancelled"),
                an_imaging_study(id="is4", identifier=[]),
            ),
            missing=("DiagnosticReport: the EHR answered 503.",),
        ),
        read_at=AS_OF,
        as_of=AS_OF,
    )
    assert [flag.coding.code for flag in context.history] == ["84114007"]
    assert [m.code for m in context.measurements] == ["1988-5"]
    assert [study.imaging_study_id for study in context.studies] == ["is1"]
    assert context.missing == (
        "DiagnosticReport: the EHR answered 503.",
        "Condition: 1 could not be understood.",
        "ImagingStudy: 1 could not be understood.",
        "Observation: 1 could not be understood.",
    )


def test_context_lists_studies_newest_first_and_each_accession_once() -> None:
    who = demographics_from_patient(a_patient())
    assert who is not None
    same_accession = a_service_request(identifier=[{"type": ACSN, "value": "A-1"}])
    context = clinical_context(
        who,
        RecordResources(
            imaging_studies=(
                an_imaging_study(),
                an_imaging_study(
                    id="old",
                    started="2025-01-01T00:00:00Z",
                    identifier=[{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
                ),
            ),
            service_requests=(a_service_request(), same_accession),
            endpoints=(an_endpoint(),),
        ),
        read_at=AS_OF,
        as_of=AS_OF,
    )
    named = [study.imaging_study_id or study.accession_number for study in context.studies]
    assert named == ["A-7", "is1", "old"]


@pytest.mark.parametrize(
    ("value", "n_matches", "has_failed"),
    [
        pytest.param(a_bundle(an_observation()), 1, False, id="bundle"),
        pytest.param(a_bundle(), 0, False, id="empty-bundle"),
        pytest.param(an_observation(), 1, False, id="single-resource"),
        pytest.param(an_operation_outcome(), 0, True, id="operation-outcome"),
        pytest.param(a_bundle(an_operation_outcome()), 0, True, id="outcome-as-entry"),
        pytest.param({"resourceType": "Patient"}, 0, True, id="other-type"),
        pytest.param([], 0, True, id="no-object"),
        pytest.param(
            {"resourceType": "Bundle", "entry": [3, {}]}, 0, False, id="malformed-entries"
        ),
    ],
)
def test_answer_is_taken_apart_whatever_its_shape(
    value: object, n_matches: int, has_failed: bool
) -> None:
    answer = answer_from_json(value, "Observation")
    assert (len(answer.matches), answer.has_failed) == (n_matches, has_failed)


def test_answer_keeps_included_resources_and_the_next_link() -> None:
    bundle = a_bundle(an_imaging_study(), an_endpoint(), next_url="https://ehr.example.invalid/n")
    answer = answer_from_json(bundle, "ImagingStudy")
    assert [r["resourceType"] for r in answer.included] == ["Endpoint"]
    assert answer.next_url == "https://ehr.example.invalid/n"


def test_empty_search_bundle_has_no_entry() -> None:
    bundle = search_bundle([], base_url="https://b", self_url="https://b/Observation?x=1")
    assert "entry" not in bundle
    assert bundle["total"] == 0
