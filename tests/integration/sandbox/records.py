"""Two patients, three pictures: the least that the sandbox's doors can be tried on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

if TYPE_CHECKING:
    from pathlib import Path

STUDY_OF_ANNE = "2.25.1001"
STUDY_OF_BEN = "2.25.2001"
STUDY_OF_PDF = "2.25.3001"
ACCESSION_OF_ANNE = "ACC-1"
MRN_SYSTEM = "urn:oid:1.2.3.4"
_LOINC = "http://loinc.org"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"


def a_patient(patient_id: str, family: str, mrn: str, born: str) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": patient_id,
        "identifier": [
            {
                "system": MRN_SYSTEM,
                "value": mrn,
                "type": {"coding": [{"system": _IDENTIFIER_TYPE, "code": "MR"}]},
            }
        ],
        "name": [{"family": family, "given": ["Test"]}],
        "gender": "female",
        "birthDate": born,
    }


def an_observation(number: int, patient_id: str, at: str, value: float) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"crp-{patient_id}-{number}",
        "status": "final",
        "category": [{"coding": [{"system": _CATEGORY, "code": "laboratory"}]}],
        "code": {"coding": [{"system": _LOINC, "code": "1988-5", "display": "CRP"}]},
        "subject": {"reference": f"Patient/{patient_id}"},
        "effectiveDateTime": at,
        "valueQuantity": {"value": value, "unit": "mg/L", "code": "mg/L"},
    }


def an_imaging_study(patient_id: str, uid: str, endpoint: str | None) -> dict[str, Any]:
    study: dict[str, Any] = {
        "resourceType": "ImagingStudy",
        "id": f"study-{patient_id}",
        "status": "available",
        "identifier": [
            {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"},
            {
                "value": ACCESSION_OF_ANNE,
                "type": {"coding": [{"system": _IDENTIFIER_TYPE, "code": "ACSN"}]},
            },
        ],
        "subject": {"reference": f"Patient/{patient_id}"},
        "started": "2026-11-20T06:41:00+01:00",
        "description": "Chest radiograph",
        "series": [{"uid": f"{uid}.1", "modality": {"code": "DX"}}],
    }
    return study | ({"endpoint": [{"reference": f"Endpoint/{endpoint}"}]} if endpoint else {})


def resources() -> list[dict[str, Any]]:
    days = [f"2026-11-{day:02d}T05:00:00+01:00" for day in range(10, 20)]
    return [
        a_patient("anne", "Archer", "10001", "1951-02-03"),
        a_patient("ben", "Barlow", "10002", "1980-05"),
        *(an_observation(n, "anne", at, 12.0 + n) for n, at in enumerate(days)),
        an_observation(0, "ben", days[0], 3.0),
        {
            "resourceType": "Condition",
            "id": "hf-anne",
            "clinicalStatus": {"coding": [{"code": "active"}]},
            "code": {"text": "Heart failure"},
            "subject": {"reference": "Patient/anne"},
            "recordedDate": "2024-03-01",
        },
        {
            "resourceType": "Encounter",
            "id": "visit-anne",
            "status": "in-progress",
            "class": {"code": "EMER", "display": "emergency"},
            "subject": {"reference": "Patient/anne"},
            "period": {"start": "2026-11-20T05:00:00+01:00"},
            "reasonCode": [{"text": "Short of breath"}],
        },
        an_imaging_study("anne", STUDY_OF_ANNE, "pacs"),
        an_imaging_study("ben", STUDY_OF_BEN, None),
        {
            "resourceType": "Endpoint",
            "id": "pacs",
            "status": "active",
            "connectionType": {"code": "dicom-wado-rs"},
            "payloadType": [{"text": "DICOM"}],
            "address": "{{DICOMWEB}}",
        },
    ]


def a_dicom_file(path: Path, *, mrn: str, name: str) -> None:
    """Write a picture of 8 x 10 pixels whose value is its position."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(path.stem)
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = path.stem
    dataset.StudyInstanceUID = path.parent.name
    dataset.SeriesInstanceUID = f"{path.parent.name}.1"
    dataset.PatientID, dataset.PatientName = mrn, name
    dataset.StudyDate, dataset.Modality = "20261120", "DX"
    dataset.AccessionNumber = ACCESSION_OF_ANNE
    dataset.Rows, dataset.Columns = 8, 10
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.arange(80, dtype="<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def write_records(folder: Path) -> Path:
    """Write FHIR and DICOM as the generator lays them out, and return the folder."""
    (folder / "fhir").mkdir(parents=True)
    for resource in resources():
        name = f"{resource['resourceType']}-{resource['id']}.json"
        (folder / "fhir" / name).write_text(json.dumps(resource))
    a_dicom_file(
        folder / "dicom" / STUDY_OF_ANNE / f"{STUDY_OF_ANNE}.1.1.dcm",
        mrn="10001",
        name="Archer^Test",
    )
    a_dicom_file(
        folder / "dicom" / STUDY_OF_BEN / f"{STUDY_OF_BEN}.1.1.dcm", mrn="10002", name="Barlow^Test"
    )
    planted = folder / "dicom" / STUDY_OF_PDF / f"{STUDY_OF_PDF}.1.1.dcm"
    planted.parent.mkdir(parents=True)
    planted.write_bytes(b"%PDF-1.4 not a picture")
    entry = {"number": 1, "patient_id": "anne", "story": "a story", "expected": "an answer"}
    guide = {"patients": [entry | {"is_fixture": False}]}
    (folder / "patients.json").write_text(json.dumps(guide))
    return folder
