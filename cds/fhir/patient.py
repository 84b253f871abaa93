"""FHIR Patient -> Demographics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.domain.patient import BusinessIdentifier, Demographics
from cds.fhir.dates import partial_date
from cds.fhir.shapes import codings, items, text

if TYPE_CHECKING:
    from cds.fhir.shapes import Resource

GENDERS = frozenset({"male", "female", "other", "unknown"})
_NAME_USES = ("official", "usual")  # before any other


def demographics_from_patient(patient: Resource) -> Demographics | None:
    """Return who a Patient is, or None if the resource is no Patient with an id.

    Parameters
    ----------
    patient
        FHIR R4 Patient as JSON.

    Returns
    -------
    Demographics or None
        A birth date keeps its precision; a gender outside the value set is ``unknown``.

    """
    patient_id = text(patient.get("id"))
    if patient.get("resourceType") != "Patient" or patient_id is None:
        return None
    gender = text(patient.get("gender")) or "unknown"
    return Demographics(
        patient_id=patient_id,
        identifiers=_identifiers(patient),
        birth_on=partial_date(patient.get("birthDate")),
        sex=gender if gender in GENDERS else "unknown",
        display_name=_display_name(patient),
        is_deceased=patient.get("deceasedBoolean") is True
        or text(patient.get("deceasedDateTime")) is not None,
    )


def _identifiers(patient: Resource) -> tuple[BusinessIdentifier, ...]:
    return tuple(
        BusinessIdentifier(
            value=value,
            system=text(identifier.get("system")),
            type_code=next((text(c.get("code")) for c in codings(identifier.get("type"))), None),
        )
        for identifier in items(patient.get("identifier"))
        if (value := text(identifier.get("value")))
    )


def _display_name(patient: Resource) -> str | None:
    names = items(patient.get("name"))
    preferred = [n for use in _NAME_USES for n in names if n.get("use") == use]
    for name in (*preferred, *names):
        whole = text(name.get("text"))
        if whole:
            return whole
        given = name.get("given")
        parts = [text(part) for part in (given if isinstance(given, list) else ())]
        written = " ".join(part for part in (*parts, text(name.get("family"))) if part)
        if written:
            return written
    return None
