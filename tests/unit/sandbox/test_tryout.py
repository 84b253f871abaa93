"""The patients to try: valid FHIR, readable DICOM, and each planted oddity really there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fhir.resources.R4B import get_fhir_model_class
from pydicom.errors import InvalidDicomError

from sandbox.generator.patients import draw_cases
from sandbox.generator.tryout import write_tryout

TODAY_0900 = datetime(2026, 3, 12, 9, 0, tzinfo=UTC)

Resources = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tryout(tmp_path_factory.mktemp("tryout"), TODAY_0900, seed=2)


@pytest.fixture(scope="module")
def resources(folder: Path) -> Resources:
    read = [
        json.loads(path.read_text(encoding="utf-8")) for path in (folder / "fhir").glob("*.json")
    ]
    return {f"{r['resourceType']}/{r['id']}": r for r in read}


def _uid(study: dict[str, Any]) -> str:
    value = next(i["value"] for i in study["identifier"] if i.get("system") == "urn:dicom:uid")
    return str(value).removeprefix("urn:oid:")


def _file(folder: Path, resources: Resources, patient_id: str) -> Path:
    study = resources[f"ImagingStudy/{patient_id}-study"]
    return next((folder / "dicom" / _uid(study)).glob("*.dcm"))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "reference" in value:
            yield value["reference"]
        for child in value.values():
            yield from _references(child)
    elif isinstance(value, list):
        for child in value:
            yield from _references(child)


def test_resources_when_validated_are_r4(folder: Path) -> None:
    paths = sorted(folder.glob("**/fhir/*.json"))
    assert len(paths) > 200
    for path in paths:
        resource = json.loads(path.read_text(encoding="utf-8"))
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)


def test_references_when_followed_lead_to_a_resource(resources: Resources) -> None:
    found = [ref for resource in resources.values() for ref in _references(resource)]
    assert found
    assert {ref for ref in found if ref not in resources} == set()


def test_twelve_patients_and_fixtures_when_listed_are_all_there(
    folder: Path, resources: Resources
) -> None:
    listed = json.loads((folder / "patients.json").read_text(encoding="utf-8"))["patients"]
    assert [p["patient_id"] for p in listed[:12]] == [f"p{n}" for n in range(1, 13)]
    assert len(listed) == 22
    for entry in listed:
        assert f"Patient/{entry['patient_id']}" in resources
        assert entry["story"]
        assert entry["expected"]


def test_dates_when_now_is_given_are_relative_to_it(resources: Resources) -> None:
    assert resources["ImagingStudy/p2-study"]["started"] == "2026-03-12T06:41:00+00:00"
    three_days = TODAY_0900 - datetime.fromisoformat(resources["ImagingStudy/p1-study"]["started"])
    assert timedelta(days=3) <= three_days < timedelta(days=4)
    born = resources["Patient/p2"]["birthDate"]
    assert born < "1968-03-12"
    assert born > "1967-03-12"


def test_film_of_this_morning_when_now_is_before_it_was_taken_yesterday(tmp_path: Path) -> None:
    from sandbox.generator.tryout_facts import tryout_patients

    early = datetime(2026, 3, 12, 5, 0, tzinfo=UTC)
    assert tryout_patients(early, 1)[1].film_at == datetime(2026, 3, 11, 6, 41, tzinfo=UTC)


def test_now_when_naive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="aware"):
        write_tryout(tmp_path, datetime(2026, 3, 12))  # noqa: DTZ001 - the point of the test


def test_endpoint_study_and_accession_when_read_are_there_or_missing_as_planned(
    resources: Resources,
) -> None:
    assert resources["ImagingStudy/p4-study"]["endpoint"] == [{"reference": "Endpoint/pacs"}]
    assert resources["Endpoint/pacs"]["address"] == "{{DICOMWEB}}"
    assert "endpoint" not in resources["ImagingStudy/p5-study"]
    assert "ImagingStudy/p6-study" not in resources
    accession = resources["ServiceRequest/p6-order"]["identifier"][0]
    assert accession["type"]["coding"][0]["code"] == "ACSN"
    assert "ServiceRequest/fx-noimaging-order" not in resources


def test_p6_file_when_searched_by_accession_exists(folder: Path, resources: Resources) -> None:
    wanted = resources["ServiceRequest/p6-order"]["identifier"][0]["value"]
    numbers = set()
    for path in (folder / "dicom").glob("*/*.dcm"):
        try:
            numbers.add(pydicom.dcmread(path, stop_before_pixels=True).AccessionNumber)
        except InvalidDicomError:
            continue
    assert wanted in numbers


def test_record_facts_when_read_carry_the_stories(resources: Resources) -> None:
    def value(name: str) -> float:
        return float(resources[f"Observation/{name}"]["valueQuantity"]["value"])

    assert value("p1-98979-8") == 24
    assert "CT" in resources["DiagnosticReport/p1-report"]["conclusion"]
    assert resources["ServiceRequest/p1-draft-ct"]["status"] == "draft"
    assert (value("p2-59408-5"), value("p2-3151-8"), value("p2-2524-7")) == (89, 6, 4.1)
    assert value("p4-33762-6") == 8200
    assert (value("p5-2532-0"), value("p5-24467-3")) == (520, 45)
    assert value("p7-17861-6") == 11.0
    assert value("p8-48065-7") == 3900
    assert resources["DiagnosticReport/p12-report"]["status"] == "final"
    assert resources["Consent/fx-optout-consent"]["provision"]["type"] == "deny"


@pytest.mark.parametrize(
    "patient_id", ["p1", "p2", "p3", "p4", "p5", "p7", "p8", "p9", "p12", "fx-child", "fx-erase"]
)
def test_dicom_header_when_read_agrees_with_the_record(
    folder: Path, resources: Resources, patient_id: str
) -> None:
    dataset = pydicom.dcmread(_file(folder, resources, patient_id))
    patient, study = (
        resources[f"Patient/{patient_id}"],
        resources[f"ImagingStudy/{patient_id}-study"],
    )
    assert dataset.PatientID == patient["identifier"][0]["value"]
    assert dataset.IssuerOfPatientID == "ST-BREVIS"
    assert dataset.PatientBirthDate == patient["birthDate"].replace("-", "")
    assert dataset.PatientSex == patient["gender"][0].upper()
    assert dataset.StudyInstanceUID == _uid(study)
    assert re.fullmatch(r"2\.25\.[1-9]\d{20,38}", dataset.StudyInstanceUID)
    assert dataset.SeriesInstanceUID == study["series"][0]["uid"]
    assert dataset.SOPInstanceUID == study["series"][0]["instance"][0]["uid"]
    assert study["series"][0]["instance"][0]["sopClass"]["code"] == f"urn:oid:{dataset.SOPClassUID}"
    assert dataset.AccessionNumber in {i["value"] for i in study["identifier"]}
    assert dataset.ImageComments == "SYNTHETIC"
    assert "SYNTHETIC" in str(dataset.PatientName)
    assert dataset.pixel_array.shape == (512, 512)
    assert dataset.pixel_array.max() < 4096


def test_mixed_up_headers_when_read_name_another_patient(
    folder: Path, resources: Resources
) -> None:
    for patient_id, other in (("p11", "p12"), ("fx-moved", "fx-noimaging")):
        dataset = pydicom.dcmread(_file(folder, resources, patient_id))
        assert dataset.PatientID == resources[f"Patient/{other}"]["identifier"][0]["value"]
        assert dataset.PatientBirthDate == resources[f"Patient/{other}"]["birthDate"].replace(
            "-", ""
        )
        assert dataset.StudyInstanceUID == _uid(resources[f"ImagingStudy/{patient_id}-study"])


def test_inverted_film_when_turned_back_is_dark_outside_the_body(
    folder: Path, resources: Resources
) -> None:
    dataset = pydicom.dcmread(_file(folder, resources, "fx-inverted"))
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    assert (
        dataset.Modality
        == resources["ImagingStudy/fx-inverted-study"]["modality"][0]["code"]
        == "CR"
    )
    assert np.median(dataset.pixel_array[:40, :120]) > 3500
    assert np.median((4095 - dataset.pixel_array)[:40, :120]) < 600


def test_abdomen_when_labelled_chest_says_chest(folder: Path, resources: Resources) -> None:
    dataset = pydicom.dcmread(_file(folder, resources, "p10"))
    assert dataset.BodyPartExamined == "CHEST"
    assert dataset.pixel_array.std() > 300


def test_broken_files_when_read_are_refused(folder: Path, resources: Resources) -> None:
    truncated = pydicom.dcmread(_file(folder, resources, "fx-truncated"))
    with pytest.raises(ValueError, match="number of bytes"):
        _ = truncated.pixel_array
    assert _file(folder, resources, "fx-pdf").read_bytes().startswith(b"%PDF-")
    with pytest.raises(InvalidDicomError):
        pydicom.dcmread(_file(folder, resources, "fx-pdf"))


def test_half_arrived_study_when_counted_lacks_a_file(folder: Path, resources: Resources) -> None:
    study = resources["ImagingStudy/fx-partial-study"]
    assert study["numberOfInstances"] == 2
    assert len(list((folder / "dicom" / _uid(study)).glob("*.dcm"))) == 1


def test_neighbour_when_read_shares_the_id_and_nothing_else(
    folder: Path, resources: Resources
) -> None:
    other = json.loads(
        (folder / "tenant_b" / "fhir" / "Patient-p4.json").read_text(encoding="utf-8")
    )
    here = resources["Patient/p4"]
    assert other["id"] == here["id"]
    assert other["identifier"][0]["system"] != here["identifier"][0]["system"]
    assert other["birthDate"] != here["birthDate"]
    study = json.loads(
        (folder / "tenant_b" / "fhir" / "ImagingStudy-p4-study.json").read_text(encoding="utf-8")
    )
    assert _uid(study) != _uid(resources["ImagingStudy/p4-study"])
    assert (folder / "tenant_b" / "dicom" / _uid(study)).is_dir()


def test_patient_to_erase_when_looked_up_has_cases_in_the_library(resources: Resources) -> None:
    from sandbox.generator.library import DEFAULT_SEED

    number = resources["Patient/fx-erase"]["identifier"][0]["value"]
    assert number in {c.patient_number for c in draw_cases(DEFAULT_SEED)}


def test_tryout_when_written_twice_is_the_same(folder: Path, tmp_path: Path) -> None:
    again = write_tryout(tmp_path, TODAY_0900, seed=2)
    first = {p.relative_to(folder): p.read_bytes() for p in folder.glob("**/*") if p.is_file()}
    second = {p.relative_to(again): p.read_bytes() for p in again.glob("**/*") if p.is_file()}
    assert first == second
