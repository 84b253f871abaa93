"""FHIR ImagingStudy, with its Endpoint and reports -> StudyRef."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from cds.domain.study import StudyRef
from cds.fhir.dates import moment
from cds.fhir.report_state import report_state_of
from cds.fhir.shapes import accession_numbers, concept_text, items, mapping, text, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cds.fhir.shapes import Resource

IGNORED_STATUSES = frozenset({"entered-in-error", "cancelled"})
DICOM_UID_SYSTEM = "urn:dicom:uid"
URI_SYSTEM = "urn:ietf:rfc:3986"
OID_PREFIX = "urn:oid:"
DICOMWEB_CONNECTION = "dicom-wado-rs"
_CLOSED_ENDPOINTS = frozenset({"off", "suspended", "error", "entered-in-error"})
# Series that hold no picture: reports, presentation states, key objects, segmentations, documents.
_NOT_PICTURES = frozenset({"SR", "PR", "KO", "SEG", "DOC", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE"})


# It becomes part of a URL: only what PS3.5 section 9.1 allows.
_UID = re.compile(r"[0-9][0-9.]{0,63}")
_CHEST_WORDS = ("chest", "thorac", "thorax", "lung")


def is_ignored(study: Resource) -> bool:
    """Tell whether an ImagingStudy was cancelled or entered in error."""
    return study.get("status") in IGNORED_STATUSES


def study_from_imaging_study(
    study: Resource,
    *,
    addresses: Mapping[str, str] | None = None,
    reports: Iterable[Resource] = (),
) -> StudyRef | None:
    """Return an ImagingStudy as a reference to a study, or None if nothing identifies it.

    Parameters
    ----------
    study
        FHIR R4 ImagingStudy as JSON.
    addresses
        Endpoint logical id -> DICOMweb address, from included or separately read Endpoints;
        contained ones are found in `study` itself.
    reports
        DiagnosticReports of the same answer; those about this study give the report state.

    """
    uid = study_instance_uid(study)
    accession = next(iter(accession_numbers(study)), None)
    if uid is None and accession is None:
        return None
    reference = StudyRef(
        study_instance_uid=uid,
        accession_number=accession,
        imaging_study_id=text(study.get("id")),
        modality=_modality(study),
        body_part=_body_part(study),
        description=text(study.get("description")),
        started_at=moment(study.get("started")),
        dicomweb_url=_address(study, addresses or {}),
        n_instances=_n_instances(study),
    )
    return replace(reference, report_state=report_state_of(study, reports))


def study_instance_uid(study: Resource) -> str | None:
    """Return the Study Instance UID of an ImagingStudy, or None.

    FHIR R4 wants the system ``urn:dicom:uid`` and the value ``urn:oid:<UID>``; Synthea and others
    write the same value under ``urn:ietf:rfc:3986`` or no system (seen in 2026-11).
    """
    identifiers = items(study.get("identifier"))
    for system in (DICOM_UID_SYSTEM, URI_SYSTEM, None):
        for identifier in identifiers:
            value = text(identifier.get("value")) or ""
            is_marked = system == DICOM_UID_SYSTEM or value.startswith(OID_PREFIX)
            uid = value.removeprefix(OID_PREFIX)
            if identifier.get("system") == system and is_marked and _UID.fullmatch(uid):
                return uid
    return None


def endpoint_ids(study: Resource) -> tuple[str, ...]:
    """Return the logical ids of the Endpoints that a study and its series refer to."""
    references = [
        text(reference.get("reference")) or ""
        for part in (study, *items(study.get("series")))
        for reference in items(part.get("endpoint"))
    ]
    return tuple(
        dict.fromkeys(r.rpartition("Endpoint/")[2] for r in references if "Endpoint/" in r)
    )


def dicomweb_address(endpoint: Resource) -> str | None:
    """Return the address of an open DICOMweb Endpoint, or None."""
    connection = mapping(endpoint.get("connectionType"))
    address = text(endpoint.get("address"))
    if (
        endpoint.get("resourceType") != "Endpoint"
        or connection.get("code") != DICOMWEB_CONNECTION
        or endpoint.get("status") in _CLOSED_ENDPOINTS
        or address is None
        or not address.startswith(("http://", "https://"))
    ):
        return None
    return address.rstrip("/")


def _address(study: Resource, addresses: Mapping[str, str]) -> str | None:
    for resource in items(study.get("contained")):
        contained = dicomweb_address(resource)
        if contained:
            return contained
    found = (addresses.get(endpoint_id) for endpoint_id in endpoint_ids(study))
    return next((address for address in found if address), None)


def _modality(study: Resource) -> str | None:
    by_series = [text(mapping(s.get("modality")).get("code")) for s in items(study.get("series"))]
    by_study = [text(coding.get("code")) for coding in items(study.get("modality"))]
    for codes in (by_series, by_study):
        counts = Counter(c.upper() for c in codes if c and c.upper() not in _NOT_PICTURES)
        if counts:
            return counts.most_common(1)[0][0]
    return None


def _body_part(study: Resource) -> str | None:
    sites = (mapping(series.get("bodySite")) for series in items(study.get("series")))
    named = next((n for s in sites if (n := text(s.get("display")) or text(s.get("code")))), None)
    procedures = (concept_text(p) or "" for p in items(study.get("procedureCode")))
    for words in (named or "", *procedures):
        if any(word in words.lower() for word in _CHEST_WORDS):
            return "Chest"
    return named.removesuffix(" (body structure)") if named else None


def _n_instances(study: Resource) -> int | None:
    stated = whole_number(study.get("numberOfInstances"))
    if stated is not None:
        return stated
    listed = sum(len(items(series.get("instance"))) for series in items(study.get("series")))
    return listed or None
