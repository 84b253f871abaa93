"""Looks up patients and arrived studies in the record, with our own token, and subscribes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from cds.adapters.egress import bearer
from cds.domain.errors import CdsError, Reason
from cds.fhir.arrived_study import arrived_study, order_id
from cds.fhir.bundle import answer_from_json
from cds.fhir.shapes import accession_numbers, mapping, subject_id

if TYPE_CHECKING:
    from cds.adapters.egress import EgressClient
    from cds.domain.arrival import ArrivedStudy
    from cds.domain.registration import EhrRegistration
    from cds.domain.study import StudyRef
    from cds.fhir.shapes import Resource
    from cds.ports import Deadline, FhirAccess

JSON_TYPES = "application/fhir+json, application/json;q=0.9"
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


class FhirLookup:
    """Implements `cds.arrival_ports.RecordLookup` over FHIR R4 REST."""

    def __init__(self, client_for: Callable[[EhrRegistration], EgressClient]) -> None:
        self._client_for = client_for

    def arrived_study(
        self, access: FhirAccess, study: StudyRef, deadline: Deadline
    ) -> ArrivedStudy | None:
        """Return what the record says about a study (see `RecordLookup.arrived_study`)."""
        found = self._imaging_study(access, study, deadline)
        patient_id = None if found is None else subject_id(found)
        if found is None or patient_id is None:
            return None
        patient = self._read(access, "Patient", patient_id, deadline)
        if patient is None:  # whose labels could not be seen is not judged
            return None
        order = order_id(found)
        return arrived_study(
            found,
            patient=patient,
            order=self._read(access, "ServiceRequest", order, deadline) if order else None,
        )

    def create(self, access: FhirAccess, resource: dict[str, Any], deadline: Deadline) -> str:
        """Create a resource at the EHR and return its logical id, or ``unknown``.

        Raises
        ------
        CdsError
            UPSTREAM_REFUSED or UPSTREAM_FAILED, EGRESS_REFUSED, DEADLINE.

        """
        base = access.registration.fhir_base_url.rstrip("/")
        credential = bearer(access.access_token, base) if access.access_token else None
        session = self._client_for(access.registration).session(
            deadline=deadline, credential=credential, peer_name="The EHR"
        )
        kind = {"Content-Type": "application/fhir+json", "Accept": JSON_TYPES}
        url = f"{base}/{resource['resourceType']}"
        answer = session.post(url, data=orjson.dumps(resource), headers=kind)
        place = answer.headers.get("Location", "")
        match = re.search(rf"{resource['resourceType']}/([A-Za-z0-9\-.]{{1,64}})", place)
        return match[1] if match else "unknown"

    def _imaging_study(
        self, access: FhirAccess, study: StudyRef, deadline: Deadline
    ) -> Resource | None:
        if study.imaging_study_id is not None:
            return self._read(access, "ImagingStudy", study.imaging_study_id, deadline)
        uid, accession = study.study_instance_uid, study.accession_number
        wanted = f"urn:dicom:uid|urn:oid:{uid}" if uid else accession or ""
        found = self._search(access, "ImagingStudy", {"identifier": wanted}, deadline)
        if uid is None:  # an identifier of another kind may have the same value
            found = [s for s in found if accession in accession_numbers(s)]
        if len(found) > 1:
            raise CdsError(
                Reason.IDENTITY_MISMATCH, "The EHR lists this study several times.", fields="study"
            )
        return found[0] if found else None

    def _read(
        self, access: FhirAccess, resource_type: str, resource_id: str, deadline: Deadline
    ) -> Resource | None:
        if not _FHIR_ID.fullmatch(resource_id):
            raise CdsError(Reason.INVALID_REQUEST, "An id of the record is no FHIR id.")
        try:
            found = self._get(access, f"{resource_type}/{resource_id}", deadline)
        except CdsError as error:
            if error.reason is Reason.NOT_FOUND:
                return None
            raise
        resource = mapping(found)
        is_it = (resource.get("resourceType"), resource.get("id")) == (resource_type, resource_id)
        if not is_it:
            raise CdsError(Reason.UPSTREAM_FAILED, "The EHR answered with another resource.")
        return resource

    def _search(
        self, access: FhirAccess, resource_type: str, query: dict[str, str], deadline: Deadline
    ) -> list[Resource]:
        path = f"{resource_type}?{urlencode(query, safe='/:')}"
        answer = answer_from_json(self._get(access, path, deadline), resource_type)
        if answer.has_failed:
            raise CdsError(Reason.UPSTREAM_FAILED, "The EHR answered without data.")
        return list(answer.matches)

    def _get(self, access: FhirAccess, path: str, deadline: Deadline) -> Any:  # noqa: ANN401  # JSON
        base = access.registration.fhir_base_url.rstrip("/")
        credential = bearer(access.access_token, base) if access.access_token else None
        response = self._client_for(access.registration).get(
            f"{base}/{path}",
            deadline=deadline,
            headers={"Accept": JSON_TYPES, "Cache-Control": "no-cache"},
            credential=credential,
            peer_name="The EHR",
        )
        return response.json()
