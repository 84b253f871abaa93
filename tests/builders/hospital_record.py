"""One chest film of 4 March 2025 and the record around it, as a hospital's FHIR server holds it."""

from __future__ import annotations

from typing import Any

from tests.builders.dicom import STUDY_INSTANCE_UID, a_dicom_instance
from tests.builders.fhir import (
    SUBJECT,
    Resource,
    a_condition,
    a_diagnostic_report,
    a_patient,
    an_imaging_study,
    an_observation,
)

ENCOUNTER = {"reference": "Encounter/stay"}
ICU = {"reference": "Location/icu"}
SNOMED = "http://snomed.info/sct"


def the_study(**overrides: Any) -> Resource:
    return an_imaging_study(
        **{"started": "2025-03-04T06:41:00+01:00", "encounter": ENCOUNTER, **overrides}
    )


def a_stay(**overrides: Any) -> Resource:
    return {
        "resourceType": "Encounter",
        "id": "stay",
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": SUBJECT,
        "period": {"start": "2025-03-03T20:00:00Z", "end": "2025-03-12T09:00:00Z"},
        **overrides,
    }


def an_icu_place(start: str, end: str | None = None) -> Resource:
    period = {"start": start, **({"end": end} if end else {})}
    return {"location": ICU, "status": "completed", "period": period}


def the_icu() -> Resource:
    role = {"system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode", "code": "ICU"}
    return {"resourceType": "Location", "id": "icu", "type": [{"coding": [role]}]}


def a_visit(start: str, **overrides: Any) -> Resource:
    """An ambulatory contact: the patient is alive and known here."""
    return a_stay(
        **{
            "id": f"visit-{start[:10]}",
            "class": {"code": "AMB"},
            "period": {"start": start, "end": start},
            **overrides,
        }
    )


def a_report(**overrides: Any) -> Resource:
    return a_diagnostic_report(
        **{
            "issued": "2025-03-04T10:00:00Z",
            "effectiveDateTime": "2025-03-04T06:41:00+01:00",
            "conclusion": "Left basal consolidation. No pneumothorax.",
            "conclusionCode": [concept("95436008", "Lung consolidation")],
            **overrides,
        }
    )


def a_diagnosis(code: str = "233604007", display: str = "Pneumonia", **overrides: Any) -> Resource:
    return a_condition(
        **{
            "id": f"d-{code}",
            "code": concept(code, display),
            "encounter": ENCOUNTER,
            "recordedDate": "2025-03-05T08:00:00Z",
            **overrides,
        }
    )


def a_procedure(code: str, start: str, **overrides: Any) -> Resource:
    return {
        "resourceType": "Procedure",
        "id": f"p-{code}-{start}",
        "status": "completed",
        "code": concept(code, "procedure"),
        "subject": SUBJECT,
        "performedPeriod": {"start": start},
        **overrides,
    }


def a_value(code: str, value: float, unit: str, at: str, **overrides: Any) -> Resource:
    return an_observation(code, value, unit, id=f"o-{code}-{at}", effectiveDateTime=at, **overrides)


def concept(code: str, display: str) -> Resource:
    return {"coding": [{"system": SNOMED, "code": code, "display": display}]}


def a_deny(**overrides: Any) -> Resource:
    return {
        "resourceType": "Consent",
        "id": "consent",
        "status": "active",
        "scope": {"coding": [{"code": "research"}]},
        "patient": SUBJECT,
        "provision": {"type": "deny"},
        **overrides,
    }


def the_record(*more: Resource) -> list[Resource]:
    """A patient with a stay, a film with its report, labs around it, and a visit a year later."""
    return [
        a_patient(),
        the_study(),
        a_stay(),
        a_report(),
        a_diagnosis(),
        a_condition(),
        a_value("1988-5", 112, "mg/L", "2025-03-04T05:00:00Z"),
        a_visit("2026-04-01T10:00:00Z"),
        the_icu(),
        *more,
    ]


def the_film(**overrides: Any) -> bytes:
    return a_dicom_instance(
        **{
            "StudyInstanceUID": STUDY_INSTANCE_UID,
            "StudyDate": "20250304",
            "StudyTime": "064100",
            **overrides,
        }
    )


def numbered(record: list[Resource], number: int) -> list[Resource]:
    """The same record for another patient and study."""
    return [_renamed(resource, number) for resource in record]


def _renamed(value: Any, number: int) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(inner, number) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, number) for inner in value]
    names = {
        **{name: f"{name}-{number}" for name in ("p100", "is1", "stay", "r1", "c1", "consent")},
        "P100": f"P100-{number}",
        "A-1": f"A-1-{number}",
        f"urn:oid:{STUDY_INSTANCE_UID}": f"urn:oid:{STUDY_INSTANCE_UID}.{number}",
    }
    if isinstance(value, str):
        head, slash, tail = value.rpartition("/")
        return f"{head}{slash}{names.get(tail, tail)}" if slash else names.get(value, value)
    return value
