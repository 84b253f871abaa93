"""Reads the record: from a hook's prefetch where it has data, else over FHIR R4 REST."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cds.adapters.fhir_requests import FhirRequests, Found, ReaderLimits
from cds.domain.errors import CdsError, Reason
from cds.domain.time_limit import TimeLimit
from cds.domain.wording import lower_first
from cds.fhir.bundle import SearchAnswer, answer_from_json
from cds.fhir.clinical_context import RecordResources, clinical_context
from cds.fhir.imaging_study import endpoint_ids
from cds.fhir.patient import demographics_from_patient
from cds.fhir.record_queries import (
    CONDITIONS,
    DIAGNOSTIC_REPORTS,
    IMAGING_STUDIES,
    OBSERVATIONS,
    PATIENT_KEY,
    RECORD_QUERIES,
    SERVICE_REQUESTS,
    RecordQuery,
)
from cds.fhir.shapes import subject_id

if TYPE_CHECKING:
    from datetime import datetime

    from cds.adapters.egress import EgressClient
    from cds.domain.patient import ClinicalContext, Demographics
    from cds.domain.registration import EhrRegistration
    from cds.fhir.shapes import Resource
    from cds.ports import Clock, Deadline, FhirAccess

MAX_ENDPOINT_READS = 2
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # it becomes part of a path
NOT_SENT = "not sent by the EHR"


class RestFhirReader:
    """A `cds.ports.FhirReader` over HTTP.

    Parameters
    ----------
    client_for
        Registration -> HTTP client of that EHR.
    clock
        Says when the record was read.
    limits
        What one reading may cost.

    """

    def __init__(
        self,
        client_for: Callable[[EhrRegistration], EgressClient],
        *,
        clock: Clock,
        limits: ReaderLimits | None = None,
    ) -> None:
        self._client_for = client_for
        self._clock = clock
        self._limits = limits or ReaderLimits()

    def read_context(
        self,
        access: FhirAccess,
        *,
        prefetch: Mapping[str, Any] | None,
        deadline: Deadline,
        as_of: datetime,
    ) -> ClinicalContext:
        """Return the record; what is not prefetched is read concurrently.

        Parameters
        ----------
        access
            Whose record, with which right; without a token only the prefetch counts.
        prefetch
            As the client sent it. An absent key or an OperationOutcome is read by REST; null and
            an empty Bundle mean that there is no data.
        deadline
            The caller's; the record takes a share of it.
        as_of
            Aware UTC; nothing that the record knew only later is used.

        Raises
        ------
        CdsError
            MISSING_CONTEXT, IDENTITY_MISMATCH, UPSTREAM_FAILED, UPSTREAM_REFUSED, EGRESS_REFUSED
            or DEADLINE, all about the Patient or a foreign prefetch; other resources that fail
            are named in `missing`.

        """
        if not _FHIR_ID.fullmatch(access.patient_id):
            raise CdsError(Reason.INVALID_REQUEST, "The patient id is not a FHIR id.")
        prefetched = _Prefetched.from_json(prefetch or {}, access.patient_id)
        share_s = deadline.remaining_s() * self._limits.share_of_deadline
        requests = FhirRequests(
            self._client_for(access.registration), access, TimeLimit(share_s), self._limits
        )
        reading = _Reading(requests, access, prefetched)
        with ThreadPoolExecutor(max_workers=1 + len(RECORD_QUERIES)) as threads:
            patient = threads.submit(reading.demographics)  # first: the budget is for it, too
            futures = {query: threads.submit(reading.part, query) for query in RECORD_QUERIES}
            demographics = patient.result()
            found = {query: future.result() for query, future in futures.items()}
        resources = reading.resources(found)
        return clinical_context(demographics, resources, read_at=self._clock.now(), as_of=as_of)


@dataclass(frozen=True, slots=True, repr=False)
class _Prefetched:
    """The members of a prefetch that say something; `None` says that there is no data."""

    answers: Mapping[str, SearchAnswer | None]

    @classmethod
    def from_json(cls, prefetch: Mapping[str, Any], patient_id: str) -> _Prefetched:
        answers: dict[str, SearchAnswer | None] = {}
        types = {query.key: query.resource_type for query in RECORD_QUERIES}
        for key, resource_type in ((PATIENT_KEY, "Patient"), *types.items()):
            if key not in prefetch:
                continue
            value = prefetch[key]
            answer = None if value is None else answer_from_json(value, resource_type)
            for resource in answer.matches if answer else ():
                about = resource.get("id") if key == PATIENT_KEY else subject_id(resource)
                if about is not None and about != patient_id:
                    raise CdsError(
                        Reason.IDENTITY_MISMATCH,
                        f"The prefetched {resource_type} is about another patient; nothing was "
                        "compared. Tell the EHR team.",
                        fields=resource_type,
                    )
            answers[key] = answer
        return cls(answers)


class _Reading:
    """One reading of one record."""

    def __init__(self, requests: FhirRequests, access: FhirAccess, prefetched: _Prefetched) -> None:
        self._requests = requests
        self._patient_id = access.patient_id
        self._has_token = access.access_token is not None
        self._prefetched = prefetched.answers

    def demographics(self) -> Demographics:
        """Return who the patient is.

        Raises
        ------
        CdsError
            MISSING_CONTEXT if the Patient can be had neither way; IDENTITY_MISMATCH if the EHR
            answers with another one; what the request raises.

        """
        demographics = demographics_from_patient(self._patient())
        if demographics is None:
            raise CdsError(Reason.UPSTREAM_FAILED, "The EHR's Patient cannot be understood.")
        if demographics.patient_id != self._patient_id:
            raise CdsError(
                Reason.IDENTITY_MISMATCH,
                "The EHR answered with another patient; nothing was compared.",
                fields="Patient",
            )
        return demographics

    def part(self, query: RecordQuery) -> Found:
        """Return one part of the record; a failure becomes a phrase."""
        try:
            return self._part(query)
        except CdsError as error:
            return Found(missing=(lower_first(error.sentence).rstrip("."),))

    def resources(self, found: Mapping[RecordQuery, Found]) -> RecordResources:
        """Return what was found, without what is about someone else."""
        own: dict[RecordQuery, tuple[Resource, ...]] = {}
        missing: list[str] = []
        for query, part in found.items():
            own[query] = tuple(r for r in part.matches if subject_id(r) == self._patient_id)
            phrases = [*part.missing]
            n_foreign = len(part.matches) - len(own[query])
            if n_foreign:
                phrases.append(f"{n_foreign} not about this patient were left out")
            missing.extend(f"{query.resource_type}: {phrase}." for phrase in phrases)
        return RecordResources(
            conditions=own[CONDITIONS],
            observations=own[OBSERVATIONS],
            imaging_studies=own[IMAGING_STUDIES],
            diagnostic_reports=own[DIAGNOSTIC_REPORTS],
            service_requests=own[SERVICE_REQUESTS],
            endpoints=found[IMAGING_STUDIES].included,
            missing=tuple(missing),
        )

    def _patient(self) -> Resource:
        answer = self._prefetched.get(PATIENT_KEY)
        if answer is not None and answer.matches:
            return answer.matches[0]
        has_none = PATIENT_KEY in self._prefetched and answer is None
        if has_none or not self._has_token:
            raise CdsError(
                Reason.MISSING_CONTEXT,
                "The Patient is needed: send it as prefetch, or an access token to read it.",
            )
        try:
            return self._requests.read("Patient", self._patient_id)
        except CdsError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            raise CdsError(Reason.MISSING_CONTEXT, "The EHR does not know this patient.") from error

    def _part(self, query: RecordQuery) -> Found:
        is_prefetched = query.key in self._prefetched
        answer = self._prefetched.get(query.key)
        if is_prefetched and answer is None:
            return Found()  # the client looked, and there is nothing
        if answer is not None and not answer.has_failed:
            found = self._requests.follow(answer, query)
        elif self._has_token:
            found = self._requests.search(query, self._patient_id)
        else:
            return Found(missing=("the EHR could not read it" if is_prefetched else NOT_SENT,))
        return self._with_endpoints(found) if query is IMAGING_STUDIES else found

    def _with_endpoints(self, found: Found) -> Found:
        """Read the Endpoints of the studies that were not included, a few at most."""
        known = {endpoint.get("id") for endpoint in found.included}
        wanted = [i for study in found.matches for i in endpoint_ids(study) if i not in known]
        if not self._has_token:
            return found
        read, missing = [], []
        for endpoint_id in list(dict.fromkeys(wanted))[:MAX_ENDPOINT_READS]:
            try:
                read.append(self._requests.read("Endpoint", endpoint_id))
            except CdsError as error:
                missing.append(f"Endpoint not read ({error.reason.value})")
        return Found(found.matches, (*found.included, *read), (*found.missing, *missing))
