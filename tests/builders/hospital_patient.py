"""One patient as a hospital's record holds her: labs, history, a film at a PACS, a report."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.builders.fhir import (
    ACSN,
    MRN_SYSTEM,
    Resource,
    a_condition,
    a_diagnostic_report,
    a_patient,
    an_endpoint,
    an_imaging_study,
    an_observation,
)

LABORATORY = [
    {
        "coding": [
            {
                "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                "code": "laboratory",
            }
        ]
    }
]
LABS = (("1988-5", 112.0, "mg/L"), ("6690-2", 14.2, "10*3/uL"), ("731-0", 0.7, "10*3/uL"))


def a_hospital_patient(patient_id: str, **overrides: Any) -> Resource:
    """The Patient, with the record number that DICOM's Patient ID holds."""
    identifiers = [{"system": MRN_SYSTEM, "value": patient_id.upper()}]
    return a_patient(id=patient_id, identifier=identifiers, **overrides)


def labs_of(patient_id: str, taken_at: datetime, labs: Any = LABS) -> list[Resource]:
    """Laboratory results, each with the time at which it was taken and known."""
    moment = taken_at.isoformat(timespec="seconds")
    return [
        an_observation(
            code,
            value,
            unit,
            id=f"{patient_id}-{code}",
            category=LABORATORY,
            subject={"reference": f"Patient/{patient_id}"},
            effectiveDateTime=moment,
            issued=moment,
        )
        for code, value, unit in labs
    ]


def a_film(
    patient_id: str, study_instance_uid: str, started_at: datetime, dicomweb_url: str
) -> tuple[Resource, Resource]:
    """The Endpoint and the ImagingStudy that refers to it."""
    endpoint = an_endpoint(
        dicomweb_url,
        id=f"{patient_id}-pacs",
        payloadType=[{"text": "DICOM"}],
        connectionType={
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "dicom-wado-rs",
        },
    )
    study = an_imaging_study(
        id=f"{patient_id}-film",
        identifier=[
            {"system": "urn:dicom:uid", "value": f"urn:oid:{study_instance_uid}"},
            {"type": ACSN, "value": f"A-{patient_id.upper()}"},
        ],
        subject={"reference": f"Patient/{patient_id}"},
        started=started_at.isoformat(timespec="seconds"),
        endpoint=[{"reference": f"Endpoint/{endpoint['id']}"}],
    )
    return endpoint, study


def a_report_of(patient_id: str, issued_at: datetime, **overrides: Any) -> Resource:
    """A signed report of the patient's film."""
    return a_diagnostic_report(
        id=f"{patient_id}-report",
        subject={"reference": f"Patient/{patient_id}"},
        issued=issued_at.isoformat(timespec="seconds"),
        imagingStudy=[{"reference": f"ImagingStudy/{patient_id}-film"}],
        **overrides,
    )


def a_hospital_record(
    patient_id: str, study_instance_uid: str, started_at: datetime, dicomweb_url: str
) -> list[Resource]:
    """Everything of one patient, each resource after those that it refers to."""
    before = started_at - timedelta(hours=1)
    condition = a_condition(
        id=f"{patient_id}-condition", subject={"reference": f"Patient/{patient_id}"}
    )
    film = a_film(patient_id, study_instance_uid, started_at, dicomweb_url)
    return [a_hospital_patient(patient_id), condition, *labs_of(patient_id, before), *film]
