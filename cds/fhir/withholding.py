"""Who may not be in a library: a denied consent, a record under special protection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.fhir.dates import day
from cds.fhir.shapes import has_code, items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from cds.fhir.patient_record import PatientRecord
    from cds.fhir.shapes import Resource

RESTRICTED = frozenset({"R", "V"})  # http://terminology.hl7.org/CodeSystem/v3-Confidentiality
_PRIVACY = ("patient-privacy", "research")  # http://terminology.hl7.org/CodeSystem/consentscope
CONSENT_DENIED = "the patient's recorded consent denies it"
PROTECTED = "the record is under special protection (security label R or V)"


def why_withheld(
    record: PatientRecord, about_the_study: Iterable[Resource], *, now: datetime
) -> str | None:
    """Return why a patient's study may not enter a library, or None.

    Parameters
    ----------
    record
        The patient's.
    about_the_study
        Its ImagingStudy, Encounter and reports: one of them may be protected alone.
    now
        Aware UTC; consents that have run out do not count.

    """
    if any(_denies(consent, now) for consent in record.consents):
        return CONSENT_DENIED
    if any(_is_restricted(resource) for resource in (record.patient, *about_the_study)):
        return PROTECTED
    return None


def _is_restricted(resource: Resource) -> bool:
    labels = items(mapping(resource.get("meta")).get("security"))
    return any(label.get("code") in RESTRICTED for label in labels)


def _denies(consent: Resource, now: datetime) -> bool:
    """Tell whether an active consent about privacy or research denies anything now.

    Every denial counts, also one among permissions: what a site means by it is not guessed.
    """
    if consent.get("status") != "active" or not has_code(consent.get("scope"), *_PRIVACY):
        return False
    return any(
        text(provision.get("type")) == "deny" and _holds(provision, now)
        for provision in _provisions(mapping(consent.get("provision")))
    )


def _provisions(provision: Resource, depth: int = 0) -> Iterator[Resource]:
    yield provision
    if depth < 5:  # deeper ones are no consent that a person has signed
        for inner in items(provision.get("provision")):
            yield from _provisions(inner, depth + 1)


def _holds(provision: Resource, now: datetime) -> bool:
    ends_on = day(mapping(provision.get("period")).get("end"))
    return ends_on is None or ends_on >= now.date()
