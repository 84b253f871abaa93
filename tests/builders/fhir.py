"""FHIR R4 resources of one chest patient, valid by default; one override per test."""

from __future__ import annotations

from typing import Any

from tests.builders.dicom import STUDY_INSTANCE_UID

PATIENT_ID = "p100"
MRN_SYSTEM = "urn:oid:2.999.1"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
PORTABLE_CHEST = "Portable XR Chest Views"
ACSN = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
SUBJECT = {"reference": f"Patient/{PATIENT_ID}"}

Resource = dict[str, Any]


def a_patient(**overrides: Any) -> Resource:
    return {
        "resourceType": "Patient",
        "id": PATIENT_ID,
        "identifier": [{"system": MRN_SYSTEM, "value": "P100"}],
        "name": [{"use": "official", "given": ["Test"], "family": "Person"}],
        "gender": "female",
        "birthDate": "1959-03-14",
        **overrides,
    }


def an_imaging_study(**overrides: Any) -> Resource:
    return {
        "resourceType": "ImagingStudy",
        "id": "is1",
        "identifier": [
            {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY_INSTANCE_UID}"},
            {"type": ACSN, "value": "A-1"},
        ],
        "status": "available",
        "subject": SUBJECT,
        "started": "2026-01-05T06:41:00+02:00",
        "numberOfInstances": 1,
        "description": "Chest portable",
        "series": [
            {
                "uid": f"{STUDY_INSTANCE_UID}.1",
                "modality": {
                    "system": "http://dicom.nema.org/resources/ontology/DCM",
                    "code": "DX",
                },
                "bodySite": {"system": "http://snomed.info/sct", "display": "Thoracic structure"},
            }
        ],
        **overrides,
    }


def an_endpoint(
    address: str = "https://pacs.example.invalid/dicomweb", **overrides: Any
) -> Resource:
    return {
        "resourceType": "Endpoint",
        "id": "e1",
        "status": "active",
        "connectionType": {"code": "dicom-wado-rs"},
        "address": address,
        **overrides,
    }


def an_observation(
    code: str = "1988-5", value: float = 112, unit: str = "mg/L", **overrides: Any
) -> Resource:
    return {
        "resourceType": "Observation",
        "id": f"o-{code}",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": SUBJECT,
        "effectiveDateTime": "2026-01-05T05:00:00+02:00",
        "valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": unit},
        **overrides,
    }


def a_condition(**overrides: Any) -> Resource:
    return {
        "resourceType": "Condition",
        "id": "c1",
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "verificationStatus": {"coding": [{"code": "confirmed"}]},
        "code": {
            "coding": [
                {"system": "http://snomed.info/sct", "code": "84114007", "display": "Heart failure"}
            ]
        },
        "subject": SUBJECT,
        "recordedDate": "2020-05-01",
        **overrides,
    }


def a_diagnostic_report(**overrides: Any) -> Resource:
    return {
        "resourceType": "DiagnosticReport",
        "id": "r1",
        "status": "final",
        "code": {"text": "Chest film"},
        "subject": SUBJECT,
        "imagingStudy": [{"reference": "ImagingStudy/is1"}],
        **overrides,
    }


def a_service_request(**overrides: Any) -> Resource:
    return {
        "resourceType": "ServiceRequest",
        "id": "s1",
        "status": "active",
        "intent": "order",
        "identifier": [{"type": ACSN, "value": "A-7"}],
        "code": {
            "coding": [{"system": LOINC, "code": "30746-2", "display": "Portable XR Chest Views"}]
        },
        "subject": SUBJECT,
        "occurrenceDateTime": "2026-01-05T06:30:00Z",
        **overrides,
    }


def a_bundle(*resources: Resource, next_url: str | None = None) -> Resource:
    bundle: Resource = {"resourceType": "Bundle", "type": "searchset"}
    if next_url:
        bundle["link"] = [{"relation": "next", "url": next_url}]
    if resources:
        bundle["entry"] = [{"resource": resource} for resource in resources]
    return bundle


def an_operation_outcome() -> Resource:
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "exception"}],
    }
