"""What the EHR screen shows of a patient: the FHIR record as rows of text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from sandbox.web.laboratory import LabRow, measurement_rows
from sandbox.web.search_parameters import values_at

if TYPE_CHECKING:
    from sandbox.web.fhir_store import FhirStore, Resource

_SEXES = {"female": "F", "male": "M", "other": "other"}
_PLACES = {"EMER": "Emergency department", "IMP": "Ward", "AMB": "Outpatient clinic"}
_HIDDEN_STATUSES = frozenset({"entered-in-error", "cancelled"})


@dataclass(frozen=True, slots=True)
class Banner:
    """Who the patient is; on top of every page of the chart."""

    patient_id: str
    name: str
    mrn: str
    birth_date: str
    age: str
    sex: str
    place: str
    reason: str
    allergies: str
    encounter_id: str | None

    @property
    def age_and_sex(self) -> str:
        """Return both, as far as they are known."""
        return ", ".join(part for part in (self.age, self.sex) if part)


@dataclass(frozen=True, slots=True)
class ImagingRow:
    """One imaging study of the list."""

    resource_id: str
    study_instance_uid: str
    at: str
    description: str
    modality: str
    accession_number: str
    report_state: str


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One report that is filed in this EHR."""

    title: str
    at: str
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order."""

    resource_id: str
    title: str
    at: str
    status: str
    reason: str
    accession_number: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything on a patient's page."""

    banner: Banner
    problems: tuple[tuple[str, str, str], ...]
    vitals: tuple[LabRow, ...]
    labs: tuple[LabRow, ...]
    imaging: tuple[ImagingRow, ...]
    reports: tuple[ReportRow, ...]
    orders: tuple[OrderRow, ...]

    @property
    def drafts(self) -> tuple[OrderRow, ...]:
        """Return the orders that are not signed yet."""
        return tuple(order for order in self.orders if order.status == "draft")


def read_chart(store: FhirStore, patient_id: str) -> Chart | None:
    """Return a patient's chart, or None if there is no such patient."""
    patient = store.read("Patient", patient_id)
    if patient is None:
        return None
    observations = [
        r
        for r in store.of_patient("Observation", patient_id)
        if r.get("status") not in _HIDDEN_STATUSES
    ]
    return Chart(
        banner=banner(store, patient),
        problems=_problems(store, patient_id),
        vitals=measurement_rows(observations, "vital-signs"),
        labs=measurement_rows(observations, "laboratory"),
        imaging=read_imaging(store, patient_id),
        reports=_reports(store, patient_id),
        orders=_orders(store, patient_id),
    )


def banner(store: FhirStore, patient: Resource) -> Banner:
    """Return who a patient is and why they are here."""
    encounters = sorted(
        store.of_patient("Encounter", patient["id"]),
        key=lambda r: (r.get("status") == "in-progress", r.get("period", {}).get("start", "")),
    )
    encounter: Resource = encounters[-1] if encounters else {}
    allergies = store.of_patient("AllergyIntolerance", patient["id"])
    return Banner(
        patient_id=patient["id"],
        name=person_name(patient),
        mrn=_record_number(patient),
        birth_date=day_text(patient.get("birthDate", "")) or "not recorded",
        age=_age_text(patient.get("birthDate", "")),
        sex=_SEXES.get(patient.get("gender", ""), "sex unknown"),
        place=_place(store, encounter),
        reason=_reason(store, patient["id"], encounter),
        allergies=", ".join(text_of(a.get("code")) for a in allergies) or "None recorded",
        encounter_id=encounter.get("id"),
    )


def person_name(resource: Resource) -> str:
    """Return ``FAMILY, Given`` of a Patient or Practitioner."""
    name: dict[str, Any] = next(iter(resource.get("name", ())), {})
    family, given = name.get("family", ""), " ".join(name.get("given", ()))
    return ", ".join(part for part in (family.upper(), given) if part) or name.get(
        "text", "No name"
    )


def text_of(concept: Any) -> str:  # noqa: ANN401  # a CodeableConcept, or nothing
    """Return the words of a CodeableConcept."""
    if not isinstance(concept, dict):
        return ""
    coded = next((c["display"] for c in concept.get("coding", ()) if c.get("display")), "")
    return str(concept.get("text") or coded)


def moment_text(text: str) -> str:
    """Return a FHIR dateTime as a person writes it, in its own time zone.

    Examples
    --------
    >>> moment_text("2026-11-20T06:41:00+01:00"), moment_text("2024-05")
    ('20 Nov 2026 06:41', '2024-05')

    """
    try:
        return (
            datetime.fromisoformat(text).strftime("%d %b %Y %H:%M")
            if "T" in text
            else day_text(text)
        )
    except ValueError:
        return text


def day_text(text: str) -> str:
    """Return a FHIR date as a person writes it; a partial date stays partial."""
    try:
        return date.fromisoformat(text).strftime("%d %b %Y")
    except ValueError:
        return text


def _age_text(birth_date: str) -> str:
    try:
        born = date.fromisoformat(birth_date)
    except ValueError:
        return ""
    today = datetime.now(UTC).date()
    return f"{today.year - born.year - ((today.month, today.day) < (born.month, born.day))} y"


def _record_number(patient: Resource) -> str:
    identifiers = patient.get("identifier", ())
    typed = [i for i in identifiers if "MR" in values_at(i, "type.coding.code")]
    first: dict[str, Any] = next(iter([*typed, *identifiers]), {})
    return str(first.get("value", "none"))


def _place(store: FhirStore, encounter: Resource) -> str:
    for reference in values_at(encounter, "location.location"):
        found = store.resolve(str(reference.get("reference", ""))) or {}
        if reference.get("display") or found.get("name"):
            return str(reference.get("display") or found["name"])
    kind = encounter.get("class", {})
    return _PLACES.get(kind.get("code", ""), str(kind.get("display", "Not admitted")))


def _reason(store: FhirStore, patient_id: str, encounter: Resource) -> str:
    """Return why the patient is here: what the encounter says, else the newest order."""
    orders = _newest_first(store.of_patient("ServiceRequest", patient_id), "authoredOn")
    for resource in (encounter, *orders):
        reasons = [text_of(concept) for concept in resource.get("reasonCode", ())]
        if any(reasons):
            return "; ".join(reason for reason in reasons if reason)
    return ""


def _newest_first(resources: tuple[Resource, ...], *elements: str) -> list[Resource]:
    """Return resources by the first of these dates that each has, newest first."""

    def at(resource: Resource) -> str:
        return next((str(resource[name]) for name in elements if name in resource), "")

    return sorted(resources, key=at, reverse=True)


def _problems(store: FhirStore, patient_id: str) -> tuple[tuple[str, str, str], ...]:
    rows = []
    for condition in store.of_patient("Condition", patient_id):
        if "entered-in-error" in values_at(condition, "verificationStatus.coding.code"):
            continue
        status = next(iter(values_at(condition, "clinicalStatus.coding.code")), "")
        since = condition.get("onsetDateTime") or condition.get("recordedDate") or ""
        rows.append((text_of(condition.get("code")), day_text(str(since)[:10]), str(status)))
    return tuple(sorted(rows, key=lambda row: (row[2] != "active", row[0])))


def read_imaging(store: FhirStore, patient_id: str) -> tuple[ImagingRow, ...]:
    """Return a patient's imaging studies, newest first."""
    studies = _newest_first(store.of_patient("ImagingStudy", patient_id), "started")
    reports = store.of_patient("DiagnosticReport", patient_id)
    return tuple(
        _imaging_row(study, reports)
        for study in studies
        if study.get("status") not in _HIDDEN_STATUSES
    )


def _imaging_row(study: Resource, reports: tuple[Resource, ...]) -> ImagingRow:
    reference = f"ImagingStudy/{study['id']}"
    states = [r["status"] for r in reports if reference in values_at(r, "imagingStudy.reference")]
    modalities = {str(code) for code in values_at(study, "series.modality.code")}
    body_part = next(iter(values_at(study, "series.bodySite.display")), "")
    uids = [str(v).removeprefix("urn:oid:") for v in values_at(study, "identifier.value")]
    return ImagingRow(
        resource_id=study["id"],
        study_instance_uid=next((u for u in uids if u.startswith(("1.", "2."))), ""),
        at=moment_text(str(study.get("started", ""))),
        description=str(study.get("description") or body_part or "Imaging study"),
        modality="/".join(sorted(modalities)) or "OT",
        accession_number=_accession(study),
        report_state=states[-1] if states else "unread",
    )


def _accession(resource: Resource) -> str:
    for identifier in resource.get("identifier", ()):
        if "ACSN" in values_at(identifier, "type.coding.code"):
            return str(identifier.get("value", ""))
    return ""


def _reports(store: FhirStore, patient_id: str) -> tuple[ReportRow, ...]:
    filed = store.of_patient("DiagnosticReport", patient_id)
    found = _newest_first(filed, "issued", "effectiveDateTime")
    return tuple(
        ReportRow(
            text_of(r.get("code")) or "Report",
            moment_text(str(r.get("issued") or r.get("effectiveDateTime") or "")),
            str(r.get("status", "")),
            str(r.get("conclusion", "")),
        )
        for r in found
    )


def _orders(store: FhirStore, patient_id: str) -> tuple[OrderRow, ...]:
    found = _newest_first(store.of_patient("ServiceRequest", patient_id), "authoredOn")
    return tuple(
        OrderRow(
            r["id"],
            text_of(r.get("code")) or "Order",
            moment_text(str(r.get("authoredOn", ""))),
            str(r.get("status", "")),
            "; ".join(text_of(concept) for concept in r.get("reasonCode", ())),
            _accession(r),
        )
        for r in found
    )
