"""FHIR ImagingStudy with its Patient and order -> what decides about analysis on arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.domain.arrival import ArrivedStudy
from cds.domain.job import OrderPriority
from cds.fhir.imaging_study import study_instance_uid
from cds.fhir.shapes import items, mapping, reference_id, subject_id, text

if TYPE_CHECKING:
    from cds.fhir.shapes import Resource

CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"


def arrived_study(
    study: Resource, *, patient: Resource | None = None, order: Resource | None = None
) -> ArrivedStudy | None:
    """Return what the record says about a study, or None if it names no patient or has no id.

    Parameters
    ----------
    study
        FHIR R4 ImagingStudy as JSON.
    patient
        Its Patient, where it was read.
    order
        The ServiceRequest that it is based on, where there is one.

    """
    imaging_study_id, patient_id = text(study.get("id")), subject_id(study)
    if imaging_study_id is None or patient_id is None:
        return None
    n_instances = study.get("numberOfInstances")
    is_number = isinstance(n_instances, int) and not isinstance(n_instances, bool)
    return ArrivedStudy(
        imaging_study_id=imaging_study_id,
        patient_id=patient_id,
        study_instance_uid=study_instance_uid(study),
        status=text(study.get("status")) or "unknown",
        modalities=_modalities(study),
        locations=_locations(study),
        n_instances=n_instances if is_number else None,
        order_priority=order_priority(order),
        security_labels=(*security_labels(study), *security_labels(patient or {})),
        replaced_by=replaced_by(patient or {}),
    )


def security_labels(resource: Resource) -> tuple[str, ...]:
    """Return the security labels of a resource, in whatever system (``meta.security``)."""
    labels = items(mapping(resource.get("meta")).get("security"))
    return tuple(code for label in labels if (code := text(label.get("code"))))


def replaced_by(patient: Resource) -> str | None:
    """Return the Patient into which this one was merged, or None (``Patient.link``)."""
    for link in items(patient.get("link")):
        if link.get("type") == "replaced-by":
            return reference_id(link.get("other"), "Patient")
    return None


def order_id(study: Resource) -> str | None:
    """Return the ServiceRequest that a study is based on, or None."""
    found = (reference_id(r, "ServiceRequest") for r in items(study.get("basedOn")))
    return next((one for one in found if one), None)


def order_priority(order: Resource | None) -> OrderPriority | None:
    """Return the priority of an order; routine if it states none, None without an order."""
    if order is None:
        return None
    stated = text(order.get("priority"))
    return OrderPriority(stated) if stated in set(OrderPriority) else OrderPriority.ROUTINE


def _modalities(study: Resource) -> tuple[str, ...]:
    by_study = [text(coding.get("code")) for coding in items(study.get("modality"))]
    by_series = [text(mapping(s.get("modality")).get("code")) for s in items(study.get("series"))]
    return tuple(dict.fromkeys(code.upper() for code in (*by_study, *by_series) if code))


def _locations(study: Resource) -> tuple[str, ...]:
    location = mapping(study.get("location"))
    named = (text(location.get("reference")), text(location.get("display")))
    return tuple(place for place in named if place)
