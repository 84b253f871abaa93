"""FHIR R4 resources of the patients to try, as plain dicts."""

from __future__ import annotations

import html
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sandbox.generator.parameters import parameters
from sandbox.generator.tryout_facts import TryoutPatient

Resource = dict[str, Any]

SNOMED, LOINC, UCUM = "http://snomed.info/sct", "http://loinc.org", "http://unitsofmeasure.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
_HL7 = "http://terminology.hl7.org/CodeSystem"
DICOMWEB_PLACEHOLDER = "{{DICOMWEB}}"  # the sandbox's server puts its own address here
DX_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.1.1.1"
CR_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.1"
_VITALS = {"8310-5", "8867-4", "9279-1", "8480-6", "59408-5", "3151-8"}
_MORE_LABS = {"98979-8": ("eGFR (CKD-EPI 2021)", "mL/min/{1.73_m2}")}
_DISPLAYS = {
    "8310-5": "Body temperature",
    "8867-4": "Heart rate",
    "9279-1": "Respiratory rate",
    "8480-6": "Systolic blood pressure",
    "59408-5": "Oxygen saturation in Arterial blood by Pulse oximetry",
    "3151-8": "Inhaled oxygen flow rate",
}


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S+00:00")


def _concept(system: str, code: str, display: str) -> Resource:
    """Return a CodeableConcept; text only where there is no code."""
    if not code:
        return {"text": display}
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def _subject(patient: TryoutPatient) -> Resource:
    return {"reference": f"Patient/{patient.patient_id}"}


def _narrative(text: str) -> Resource:
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{html.escape(text)}</div>',
    }


def _accession(patient: TryoutPatient) -> Resource:
    kind = {"coding": [{"system": f"{_HL7}/v2-0203", "code": "ACSN", "display": "Accession ID"}]}
    return {
        "type": kind,
        "system": patient.hospital.accession_system,
        "value": patient.accession_number,
    }


def _patient(patient: TryoutPatient) -> Resource:
    kind = {
        "coding": [{"system": f"{_HL7}/v2-0203", "code": "MR", "display": "Medical record number"}]
    }
    family, given = patient.table["family"], patient.table["given"]
    return {
        "resourceType": "Patient",
        "id": patient.patient_id,
        "text": _narrative(f"{given} {family} (synthetic)"),
        "identifier": [
            {
                "use": "usual",
                "type": kind,
                "system": patient.hospital.mrn_system,
                "value": patient.mrn,
                "assigner": {"display": patient.hospital.issuer},
            }
        ],
        "active": True,
        "name": [
            {"use": "official", "family": family, "given": [given], "text": f"{given} {family}"}
        ],
        "gender": patient.table["sex"],
        "birthDate": patient.birth_date.isoformat(),
    }


def _encounter(patient: TryoutPatient) -> Resource:
    displays = {"AMB": "ambulatory", "IMP": "inpatient encounter", "EMER": "emergency"}
    setting = patient.table["setting"]
    start = patient.film_at - timedelta(hours=40 if setting == "IMP" else 1)
    return {
        "resourceType": "Encounter",
        "id": f"{patient.patient_id}-encounter",
        "status": "in-progress",
        "class": {"system": f"{_HL7}/v3-ActCode", "code": setting, "display": displays[setting]},
        "subject": _subject(patient),
        "period": {"start": _iso(start)},
        "serviceProvider": {"reference": "Organization/hospital"},
    }


def _condition(
    patient: TryoutPatient, key: str, recorded: datetime, concept: Resource, category: str
) -> Resource:
    displays = {
        "problem-list-item": "Problem List Item",
        "encounter-diagnosis": "Encounter Diagnosis",
    }
    return {
        "resourceType": "Condition",
        "id": f"{patient.patient_id}-{key}",
        "clinicalStatus": {"coding": [{"system": f"{_HL7}/condition-clinical", "code": "active"}]},
        "verificationStatus": {
            "coding": [{"system": f"{_HL7}/condition-ver-status", "code": "confirmed"}]
        },
        "category": [
            {
                "coding": [
                    {
                        "system": f"{_HL7}/condition-category",
                        "code": category,
                        "display": displays[category],
                    }
                ]
            }
        ],
        "code": concept,
        "subject": _subject(patient),
        "recordedDate": _iso(recorded),
    }


def _conditions(patient: TryoutPatient) -> Iterator[Resource]:
    for index, (code, display, years) in enumerate(patient.table["conditions"], start=1):
        recorded = patient.film_at - timedelta(days=365.25 * years, hours=2)
        yield _condition(
            patient,
            f"condition-{index}",
            recorded,
            _concept(SNOMED, code, display),
            "problem-list-item",
        )
    flags = parameters("conditions")["flags"]
    for index, symptom in enumerate(patient.table["symptoms"], start=1):
        code, display = flags[symptom]
        recorded = patient.film_at - timedelta(minutes=50)
        yield _condition(
            patient,
            f"symptom-{index}",
            recorded,
            _concept(SNOMED, code, display),
            "encounter-diagnosis",
        )


def _observations(patient: TryoutPatient) -> Iterator[Resource]:
    hours = float(patient.table.get("labs_hours_before", 1.0))
    taken = patient.film_at - timedelta(hours=hours)
    rows = parameters("labs")["lab"]
    for loinc, value in patient.table["labs"].items():
        name, unit = _MORE_LABS.get(loinc) or (rows[loinc]["name"], rows[loinc]["unit"])
        category = "vital-signs" if loinc in _VITALS else "laboratory"
        display = {"vital-signs": "Vital Signs", "laboratory": "Laboratory"}[category]
        yield {
            "resourceType": "Observation",
            "id": f"{patient.patient_id}-{loinc}",
            "status": "final",
            "category": [
                {
                    "coding": [
                        {
                            "system": f"{_HL7}/observation-category",
                            "code": category,
                            "display": display,
                        }
                    ]
                }
            ],
            "code": _concept(LOINC, loinc, _DISPLAYS.get(loinc, name)),
            "subject": _subject(patient),
            "encounter": {"reference": f"Encounter/{patient.patient_id}-encounter"},
            "effectiveDateTime": _iso(taken),
            "issued": _iso(taken + timedelta(minutes=4 if category == "vital-signs" else 35)),
            "valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": unit},
        }


def _order(patient: TryoutPatient) -> Resource:
    order: Resource = {
        "resourceType": "ServiceRequest",
        "id": f"{patient.patient_id}-order",
        "identifier": [_accession(patient)],
        "status": "completed" if patient.table.get("report") else "active",
        "intent": "order",
        "category": [_concept(SNOMED, "363679005", "Imaging")],
        "priority": patient.table.get("priority", "routine"),
        "code": _concept(LOINC, "30745-4", "XR Chest Views"),
        "subject": _subject(patient),
        "encounter": {"reference": f"Encounter/{patient.patient_id}-encounter"},
        "occurrenceDateTime": _iso(patient.film_at),
        "authoredOn": _iso(patient.film_at - timedelta(minutes=35)),
        "requester": {"reference": "Practitioner/u-ward"},
    }
    if patient.table["reason"]:
        order["reasonCode"] = [{"text": patient.table["reason"]}]
    return order


def _draft_order(patient: TryoutPatient) -> Resource:
    return {
        "resourceType": "ServiceRequest",
        "id": f"{patient.patient_id}-draft-ct",
        "status": "draft",
        "intent": "order",
        "category": [_concept(SNOMED, "363679005", "Imaging")],
        "priority": "routine",
        "code": _concept(LOINC, "24627-2", "CT Chest"),
        "subject": _subject(patient),
        "authoredOn": _iso(patient.now),
        "requester": {"reference": "Practitioner/u-ward"},
        "reasonCode": [{"text": patient.table["reason"]}],
    }


def _imaging_study(patient: TryoutPatient) -> Resource:
    series = _series(patient)
    study: Resource = {
        "resourceType": "ImagingStudy",
        "id": f"{patient.patient_id}-study",
        "identifier": [
            {"system": "urn:dicom:uid", "value": f"urn:oid:{patient.study_instance_uid}"},
            _accession(patient),
        ],
        "status": "available",
        "modality": [series["modality"]],
        "subject": _subject(patient),
        "encounter": {"reference": f"Encounter/{patient.patient_id}-encounter"},
        "started": _iso(patient.film_at),
        "basedOn": [{"reference": f"ServiceRequest/{patient.patient_id}-order"}],
        "numberOfSeries": 1,
        "numberOfInstances": series["numberOfInstances"],
        "description": "Chest X-ray",
        "series": [series],
    }
    if not patient.table.get("without_endpoint"):
        study["endpoint"] = [{"reference": "Endpoint/pacs"}]
    return study


def _series(patient: TryoutPatient) -> Resource:
    film = patient.film or {}
    modality = "CR" if film.get("monochrome1") else "DX"
    sop_class = CR_SOP_CLASS if film.get("monochrome1") else DX_SOP_CLASS
    displays = {"DX": "Digital Radiography", "CR": "Computed Radiography"}
    announced = int(film.get("announced", 1))
    instances = [
        {
            "uid": patient.uid("instance" if index == 0 else f"instance-{index + 1}"),
            "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{sop_class}"},
            "number": index + 1,
        }
        for index in range(announced)
    ]
    return {
        "uid": patient.uid("series"),
        "number": 1,
        "modality": {"system": DCM, "code": modality, "display": displays[modality]},
        "description": f"Chest {film.get('view', 'PA')}",
        "numberOfInstances": announced,
        "bodySite": {"system": SNOMED, "code": "51185008", "display": "Thoracic structure"},
        "instance": instances,
    }


def _report(patient: TryoutPatient) -> Resource:
    issued = patient.film_at + timedelta(hours=5)
    radiology = {"system": LOINC, "code": "LP29684-5", "display": "Radiology"}
    return {
        "resourceType": "DiagnosticReport",
        "id": f"{patient.patient_id}-report",
        "identifier": [_accession(patient)],
        "basedOn": [{"reference": f"ServiceRequest/{patient.patient_id}-order"}],
        "status": "final",
        "category": [{"coding": [radiology]}],
        "code": _concept(LOINC, "18748-4", "Diagnostic imaging study"),
        "subject": _subject(patient),
        "effectiveDateTime": _iso(patient.film_at),
        "issued": _iso(issued),
        "resultsInterpreter": [{"reference": "Practitioner/u-radiologist"}],
        "imagingStudy": [{"reference": f"ImagingStudy/{patient.patient_id}-study"}],
        "conclusion": patient.table["report"],
    }


def _medication(patient: TryoutPatient) -> Resource:
    return {
        "resourceType": "MedicationRequest",
        "id": f"{patient.patient_id}-medication",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": patient.table["medication"]},
        "subject": _subject(patient),
        "authoredOn": _iso(patient.now - timedelta(days=200)),
    }


def _opt_out(patient: TryoutPatient) -> Resource:
    return {
        "resourceType": "Consent",
        "id": f"{patient.patient_id}-consent",
        "status": "active",
        "scope": {"coding": [{"system": f"{_HL7}/consentscope", "code": "patient-privacy"}]},
        "category": [
            {"coding": [{"system": LOINC, "code": "59284-0", "display": "Consent Document"}]}
        ],
        "patient": _subject(patient),
        "dateTime": _iso(patient.now - timedelta(days=90)),
        "policyRule": {"coding": [{"system": f"{_HL7}/v3-ActCode", "code": "OPTOUT"}]},
        "provision": {"type": "deny"},
    }


def patient_resources(patient: TryoutPatient) -> list[Resource]:
    """Return all resources of one patient; references are relative.

    Parameters
    ----------
    patient
        Who, at which `now`.

    Returns
    -------
    list of dict
        FHIR R4: Patient first, then what hangs on it.

    """
    found = [_patient(patient), _encounter(patient)]
    found += [*_conditions(patient), *_observations(patient)]
    if patient.film is not None:
        found.append(_order(patient))
        if not patient.table.get("without_imaging_study"):
            found.append(_imaging_study(patient))
    for key, make in (
        ("report", _report),
        ("draft_order", _draft_order),
        ("medication", _medication),
        ("opt_out", _opt_out),
    ):
        if patient.table.get(key):
            found.append(make(patient))
    return found


def hospital_resources(name: str) -> list[Resource]:
    """Return the hospital's own resources: organisation, users, PACS endpoint."""
    users = [
        {
            "resourceType": "Practitioner",
            "id": user["id"],
            "active": True,
            "name": [{"family": user["family"], "given": [user["given"]], "prefix": ["Dr"]}],
            "qualification": [{"code": {"text": user["role"]}}],
        }
        for user in parameters("tryout")["user"]
    ]
    payload = {"system": DCM, "code": "113014", "display": "Study"}
    endpoint = {
        "resourceType": "Endpoint",
        "id": "pacs",
        "status": "active",
        "connectionType": {"system": f"{_HL7}/endpoint-connection-type", "code": "dicom-wado-rs"},
        "name": "PACS of the synthetic hospital",
        "payloadType": [{"coding": [payload]}],
        "payloadMimeType": ["application/dicom"],
        "address": DICOMWEB_PLACEHOLDER,
    }
    return [
        {"resourceType": "Organization", "id": "hospital", "active": True, "name": name},
        *users,
        endpoint,
    ]
