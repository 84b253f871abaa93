"""A FHIR reader over resources in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cds.domain.errors import CdsError, Reason
from cds.domain.patient import ClinicalContext
from cds.fhir.bundle import answer_from_json
from cds.fhir.clinical_context import RecordResources, clinical_context
from cds.fhir.patient import demographics_from_patient
from cds.fhir.record_queries import PATIENT_KEY, RECORD_QUERIES
from cds.fhir.shapes import subject_id
from cds.ports import Clock, Deadline, FhirAccess
from tests.builders.fhir import Resource


class FakeFhirReader:
    """A `cds.ports.FhirReader`: prefetch first, then its own resources if there is a token."""

    def __init__(self, *resources: Resource, clock: Clock) -> None:
        self.resources = list(resources)
        self._clock = clock

    def read_context(
        self,
        access: FhirAccess,
        *,
        prefetch: Mapping[str, Any] | None,
        deadline: Deadline,
        as_of: datetime,
    ) -> ClinicalContext:
        del deadline
        given = prefetch or {}
        found: dict[str, tuple[Resource, ...]] = {}
        missing: list[str] = []
        types = {PATIENT_KEY: "Patient", **{q.key: q.resource_type for q in RECORD_QUERIES}}
        for key, resource_type in types.items():
            matches = self._part(access, given, key, resource_type)
            if matches is None:
                missing.append(f"{resource_type}: not sent by the EHR.")
            found[key] = matches or ()
        if not found[PATIENT_KEY]:
            raise CdsError(Reason.MISSING_CONTEXT, "The Patient is needed.")
        demographics = demographics_from_patient(found[PATIENT_KEY][0])
        assert demographics is not None
        resources = RecordResources(
            conditions=found["conditions"],
            observations=found["observations"],
            imaging_studies=found["imagingStudies"],
            diagnostic_reports=found["diagnosticReports"],
            service_requests=found["serviceRequests"],
            endpoints=tuple(r for r in self.resources if r["resourceType"] == "Endpoint"),
            missing=tuple(missing),
        )
        return clinical_context(demographics, resources, read_at=self._clock.now(), as_of=as_of)

    def _part(
        self, access: FhirAccess, given: Mapping[str, Any], key: str, resource_type: str
    ) -> tuple[Resource, ...] | None:
        if key in given and given[key] is None:
            return ()
        answer = answer_from_json(given[key], resource_type) if key in given else None
        if answer is not None and not answer.has_failed:
            matches = tuple(dict(match) for match in answer.matches)
            if any(_about(match) not in {None, access.patient_id} for match in matches):
                raise CdsError(Reason.IDENTITY_MISMATCH, "The prefetch is about another patient.")
            return matches
        if access.access_token is None:
            return None
        return tuple(
            r
            for r in self.resources
            if r["resourceType"] == resource_type and _about(r) == access.patient_id
        )


def _about(resource: Mapping[str, Any]) -> object:
    return resource.get("id") if resource["resourceType"] == "Patient" else subject_id(resource)
