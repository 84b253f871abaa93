"""A patient's whole record by FHIR searches, found from a study of the PACS."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from cds.adapters.archive_requests import ArchiveRequests, is_fatal, search_value
from cds.domain.errors import CdsError, Reason
from cds.domain.follow_up import event_terms
from cds.fhir.archived_study import matching_imaging_study
from cds.fhir.course import is_icu_location
from cds.fhir.imaging_study import DICOM_UID_SYSTEM, OID_PREFIX
from cds.fhir.patient_record import PARTS, REQUIRED, PatientRecord
from cds.fhir.shapes import items, reference_id, subject_id, text

if TYPE_CHECKING:
    from cds.domain.archive import ArchivedStudy
    from cds.domain.registration import EhrRegistration
    from cds.fhir.shapes import Resource

_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # it becomes part of a path
# The widest window of the laboratory catalogue is 180 days before the film, 6 hours after it.
VALUES_BEFORE, VALUES_AFTER = timedelta(days=200), timedelta(days=2)
ICU_ROLES = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
ALWAYS_KEPT = frozenset({"cancer"})  # conditions are what every record keeps


class SearchedRecords:
    """A `RecordSource` that searches; one study after the other, one request at a time.

    Parameters
    ----------
    requests
        To the FHIR server.
    registration
        Says which identifier system and issuer the PACS's Patient ID belongs to.

    """

    read_at = None
    is_partial = False

    def __init__(self, requests: ArchiveRequests, registration: EhrRegistration) -> None:
        self._requests = requests
        self._registration = registration
        self._icu: frozenset[str] | None = None
        self._kept: frozenset[str] | None = None

    def record_of(self, study: ArchivedStudy) -> PatientRecord | None:
        """Return the record of a study's patient, None if the server knows neither.

        Raises
        ------
        CdsError
            IDENTITY_MISMATCH if the record names several patients; UPSTREAM_FAILED,
            UPSTREAM_REFUSED, DEADLINE or EGRESS_REFUSED.

        """
        patient = self._patient(study)
        if patient is None:
            return None
        newest, merged_ids = self._unmerged(patient)
        patient_ids = [text(newest.get("id")) or "", *merged_ids]
        found: list[Resource] = []
        refused: list[str] = []
        for resource_type in PARTS:
            try:
                for patient_id in patient_ids:
                    found += self._part(resource_type, patient_id, study)
            except CdsError as error:
                if not _may_lack(resource_type, error):
                    raise
                refused.append(resource_type)
        return PatientRecord.of(newest, found, refused=refused, merged_ids=merged_ids)

    def icu_location_ids(self) -> frozenset[str]:
        """Return the Locations that are intensive care units; asked once."""
        if self._icu is None:
            codes = ",".join(f"{ICU_ROLES}|{code}" for code in ("ICU", "PEDICU", "PEDNICU"))
            found: tuple[Resource, ...] = ()
            try:
                found = self._requests.search("Location", [("type", codes)])
            except CdsError as error:
                if is_fatal(error):
                    raise
            ids = (text(place.get("id")) for place in found if is_icu_location(place))
            self._icu = frozenset(one for one in ids if one)
        return self._icu

    def kept_events(self) -> frozenset[str]:
        """Return the kinds of events that this server has recorded for anybody; asked once."""
        if self._kept is None:
            kept = set(ALWAYS_KEPT)
            if self.icu_location_ids():
                kept.add("icu")
            for event, terms in event_terms().items():
                codes = ",".join(code for code in terms.codes if not code.endswith("*"))
                if event in kept or terms.resource_type not in {"Procedure", "Encounter"}:
                    continue
                name = "type" if terms.resource_type == "Encounter" else "code"
                if self._requests.count_is_positive(terms.resource_type, [(name, codes)]):
                    kept.add(event)
            self._kept = frozenset(kept)
        return self._kept

    def _part(
        self, resource_type: str, patient_id: str, study: ArchivedStudy
    ) -> tuple[Resource, ...]:
        parameters = [("patient", f"Patient/{patient_id}"), *_narrowed(resource_type, study)]
        return self._requests.search(resource_type, parameters)

    def _unmerged(self, patient: Resource) -> tuple[Resource, tuple[str, ...]]:
        """Return the Patient that this one was merged into, with every number of both."""
        links = [k for k in items(patient.get("link")) if k.get("type") == "replaced-by"]
        other_id = reference_id(links[0].get("other"), "Patient") if len(links) == 1 else None
        if other_id is None or not _FHIR_ID.fullmatch(other_id):
            return patient, ()
        newest = self._read_patient(other_id)
        numbers = [*items(newest.get("identifier")), *items(patient.get("identifier"))]
        return {**newest, "identifier": numbers}, (text(patient.get("id")) or "",)

    def _patient(self, study: ArchivedStudy) -> Resource | None:
        imaging_study = self._imaging_study(study)
        if imaging_study is not None:
            patient_id = subject_id(imaging_study)
            if patient_id is None or not _FHIR_ID.fullmatch(patient_id):
                raise CdsError(
                    Reason.IDENTITY_MISMATCH,
                    "The record's ImagingStudy names no patient. Tell the EHR team.",
                    fields="subject",
                )
            return self._read_patient(patient_id)
        return self._patient_by_number(study)

    def _imaging_study(self, study: ArchivedStudy) -> Resource | None:
        uid = f"{DICOM_UID_SYSTEM}|{OID_PREFIX}{study.study_instance_uid}"
        found = matching_imaging_study(
            study, self._requests.search("ImagingStudy", [("identifier", uid)])
        )
        if found is None and study.accession_number:
            number = search_value(study.accession_number)
            found = matching_imaging_study(
                study, self._requests.search("ImagingStudy", [("identifier", number)])
            )
        return found

    def _read_patient(self, patient_id: str) -> Resource:
        patient = self._requests.read("Patient", patient_id)
        if patient.get("resourceType") != "Patient":
            raise CdsError(Reason.UPSTREAM_FAILED, "The EHR answered without data.")
        if text(patient.get("id")) != patient_id:
            raise CdsError(
                Reason.IDENTITY_MISMATCH,
                "The EHR answered with another patient; the study was not imported.",
                fields="Patient",
            )
        return patient

    def _patient_by_number(self, study: ArchivedStudy) -> Resource | None:
        """Return the patient that the PACS's Patient ID stands for in the record."""
        number, registration = study.patient_id_value, self._registration
        is_foreign = bool(
            study.issuer and registration.pacs_issuer and study.issuer != registration.pacs_issuer
        )
        if not number or is_foreign:
            return None
        system = registration.mrn_system
        wanted = search_value(number) if system is None else f"{system}|{search_value(number)}"
        found = {
            text(p.get("id")): p
            for p in self._requests.search("Patient", [("identifier", wanted)])
            if _has_number(p, system, number)
        }
        if len(found) > 1:
            raise CdsError(
                Reason.IDENTITY_MISMATCH,
                "The record has more than one patient with this number. Tell the EHR team.",
                fields="identifier",
            )
        return next(iter(found.values()), None)


def _has_number(patient: Resource, system: str | None, number: str) -> bool:
    return any(
        text(i.get("value")) == number and (system is None or i.get("system") == system)
        for i in items(patient.get("identifier"))
    )


def _narrowed(resource_type: str, study: ArchivedStudy) -> list[tuple[str, str]]:
    """Return what is asked beside the patient: of the values only those around the film."""
    if resource_type != "Observation":
        return []
    category = ("category", "laboratory,vital-signs")
    if study.started_at is None:
        return [category]
    first, last = study.started_at - VALUES_BEFORE, study.started_at + VALUES_AFTER
    return [category, ("date", f"ge{first:%Y-%m-%d}"), ("date", f"le{last:%Y-%m-%d}")]


def _may_lack(resource_type: str, error: CdsError) -> bool:
    """Tell whether a record is used although this part of it is not offered to us."""
    is_not_offered = error.facts.get("status") in {400, 403, 404, 405, 501}
    return resource_type not in REQUIRED and is_not_offered and not is_fatal(error)
