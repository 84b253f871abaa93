"""Test patients, read as the product reads them: how much of what it needs is really there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cds.adapters.dicom_files import frames_from_dicom
from cds.adapters.dicomweb import DicomwebSource
from cds.adapters.fhir_requests import FhirRequests, Found, ReaderLimits
from cds.adapters.probes.dicom_header import HeaderFacts, header_facts
from cds.domain.errors import CdsError, Reason
from cds.domain.identity import check_identity, patient_id_value
from cds.domain.time_limit import TimeLimit
from cds.fhir.imaging_study import dicomweb_address, is_ignored, study_from_imaging_study
from cds.fhir.patient import demographics_from_patient
from cds.fhir.record_queries import IMAGING_STUDIES, OBSERVATIONS, SERVICE_REQUESTS, RecordQuery
from cds.fhir.shapes import codings, subject_id, text
from cds.fhir.site_shares import LabShares, written_offsets
from cds.ports import FhirAccess

if TYPE_CHECKING:
    from cds.adapters.egress import EgressClient
    from cds.domain.patient import Demographics
    from cds.domain.pixels import PixelFrame
    from cds.domain.registration import EhrRegistration
    from cds.domain.study import StudyRef

PATIENT_LIMIT_S = 60.0
STUDIES_PER_PATIENT = 2
FILMS = frozenset({"CR", "DX", "DR"})
_LIMITS = ReaderLimits(max_requests=24, max_bytes=16 * 1024 * 1024, share_of_deadline=1.0)


@dataclass(slots=True)
class RecordSurvey:
    """Counts over the test patients; no value of a patient is kept.

    Attributes
    ----------
    unread
        Reason -> test patients whose record could not be read.
    refused
        Reason -> studies whose pictures could not be had or read.
    differing
        Kinds of identity fields that differ -> studies.
    unregistered
        Origin of an Endpoint that may not be contacted -> studies.

    """

    n_patients: int = 0
    n_read: int = 0
    n_with_study: int = 0
    n_studies: int = 0
    n_with_endpoint: int = 0
    n_with_accession: int = 0
    n_asked: int = 0
    n_retrieved: int = 0
    n_identity_equal: int = 0
    n_orders: int = 0
    n_orders_coded: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    unregistered: Counter[str] = field(default_factory=Counter)
    labs: LabShares = field(default_factory=LabShares)
    offsets: Counter[str] = field(default_factory=Counter)
    headers: list[HeaderFacts] = field(default_factory=list)


class Surveyor:
    """Reads test patients with one token, and their newest films.

    Parameters
    ----------
    registration, http
        Of the EHR.
    access
        The token; each patient is asked for with it.

    """

    def __init__(self, access: FhirAccess, http: EgressClient) -> None:
        self._access = access
        self._http = http
        self._found = RecordSurvey()
        self._images = DicomwebSource(lambda _registration: http, decode=self._decode)

    def survey(self, patient_ids: Sequence[str]) -> RecordSurvey:
        """Return the counts; a patient that cannot be read is counted with the reason."""
        for patient_id in patient_ids:
            self._found.n_patients += 1
            try:
                self._patient(patient_id)
            except CdsError as error:
                self._found.unread[error.reason.value] += 1
        return self._found

    @property
    def _registration(self) -> EhrRegistration:
        return self._access.registration

    def _patient(self, patient_id: str) -> None:
        limit = TimeLimit(PATIENT_LIMIT_S)
        access = FhirAccess(self._registration, self._access.access_token, patient_id)
        requests = FhirRequests(self._http, access, limit, _LIMITS)
        demographics = demographics_from_patient(requests.read("Patient", patient_id))
        if demographics is None or demographics.patient_id != patient_id:
            raise CdsError(Reason.IDENTITY_MISMATCH, "The EHR answered with another patient.")
        self._found.n_read += 1
        self._count_labs(requests, patient_id)
        found = self._part(requests, IMAGING_STUDIES, patient_id)
        addresses = {
            str(resource["id"]): address
            for resource in found.included
            if text(resource.get("id")) and (address := dicomweb_address(resource))
        }
        own = [r for r in found.matches if subject_id(r) == patient_id and not is_ignored(r)]
        self._found.offsets.update(written_offsets(own))
        read = (study_from_imaging_study(resource, addresses=addresses) for resource in own)
        studies = [study for study in read if study is not None]
        self._count_studies(studies)
        for study in _newest_films(studies):
            self._retrieve(access, study, demographics, limit)

    def _count_labs(self, requests: FhirRequests, patient_id: str) -> None:
        observations = self._part(requests, OBSERVATIONS, patient_id).matches
        self._found.labs.add(observations)
        self._found.offsets.update(written_offsets(observations))
        orders = self._part(requests, SERVICE_REQUESTS, patient_id).matches
        self._found.n_orders += len(orders)
        self._found.n_orders_coded += sum(
            any(c.get("system") for c in codings(order.get("code"))) for order in orders
        )

    def _part(self, requests: FhirRequests, query: RecordQuery, patient_id: str) -> Found:
        try:
            return requests.search(query, patient_id)
        except CdsError as error:
            self._found.unread[f"{query.resource_type}: {error.reason.value}"] += 1
            return Found()

    def _count_studies(self, studies: Sequence[StudyRef]) -> None:
        self._found.n_with_study += bool(studies)
        self._found.n_studies += len(studies)
        self._found.n_with_endpoint += sum(study.dicomweb_url is not None for study in studies)
        self._found.n_with_accession += sum(s.accession_number is not None for s in studies)
        addresses = (study.dicomweb_url for study in studies)
        self._found.unregistered.update(
            _origin_text(address)
            for address in addresses
            if address is not None and not self._http.allows(address)
        )

    def _retrieve(
        self, access: FhirAccess, study: StudyRef, demographics: Demographics, limit: TimeLimit
    ) -> None:
        self._found.n_asked += 1
        number = patient_id_value(demographics, self._registration)
        try:
            frames = self._images.retrieve_frames(
                access, study, patient_id_value=number, deadline=limit
            )
        except CdsError as error:
            self._found.refused[error.reason.value] += 1
            return
        self._found.n_retrieved += 1
        try:
            for frame in frames:
                check_identity(frame.identity, demographics, study, self._registration)
        except CdsError as error:
            self._found.differing[str(error.facts.get("fields", "identity"))] += 1
            return
        self._found.n_identity_equal += 1

    def _decode(self, content: bytes, *, timeout_s: float | None) -> tuple[PixelFrame, ...]:
        self._found.headers.append(header_facts(content))
        return frames_from_dicom(content, timeout_s=timeout_s)


def _origin_text(address: str) -> str:
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(an address that cannot be read)"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def _newest_films(studies: Sequence[StudyRef]) -> list[StudyRef]:
    dated = sorted(
        studies,
        key=lambda s: (s.started_at is not None, s.started_at.timestamp() if s.started_at else 0),
        reverse=True,
    )
    films = [study for study in dated if study.modality in FILMS]
    return (films or dated)[:STUDIES_PER_PATIENT]
