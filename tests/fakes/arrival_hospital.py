"""A hospital whose studies arrive: FHIR and DICOMweb over HTTP, our storage, queue and worker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from cds.adapters.dicom_files import frames_from_dicom
from cds.adapters.dicomweb import DicomwebSource
from cds.adapters.egress import EgressClients
from cds.adapters.fhir_rest import RestFhirReader
from cds.adapters.pacs_gate import Pace, PacsGates
from cds.adapters.storage import initialise, open_storage
from cds.analysis import AnalysisDefaults, Analyst, HookAnalysis
from cds.domain.arrival import ArrivalRules
from cds.domain.case import LibraryCase
from cds.domain.coding import Coding
from cds.domain.embedding import ImageEmbedding
from cds.domain.errors import CdsError, Reason
from cds.domain.facts import Finding
from cds.domain.generation import IndexPassport
from cds.domain.job import Job, JobState
from cds.domain.query import BlockWeights
from cds.domain.ranking import CompositionOfEligible, Hit, Ranking
from cds.domain.registration import EhrRegistration, Stage
from cds.domain.secrecy import SecretText
from cds.domain.time_limit import TimeLimit
from cds.engine.background import Background, open_background
from cds.pipeline import Tools
from cds.ports import FhirAccess
from cds.settings import Settings
from models.patient_features import CataloguePatientFeatures
from tests.builders.dicom import STUDY_INSTANCE_UID, a_dataset, dicom_bytes
from tests.builders.fhir import PATIENT_ID, a_bundle, a_patient, an_imaging_study
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock
from tests.fakes.dicomweb_server import DicomwebServer
from tests.fakes.fhir_server import TOKEN, FhirServer
from tests.fakes.http_server import Asked, LocalServer, Reply, a_server

OWN_TOKEN = "token-of-our-own"
KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"
ENROLLED = ArrivalRules(
    is_enrolled=True,
    legal_basis="treatment; board decision 12/2026",
    modalities=("DX",),
    locations=("*",),
    is_polled=True,
)


class ArrivingRecord(FhirServer):
    """A FHIR server that also knows identifiers, and takes our own token besides the launch's."""

    def __call__(self, asked: Asked) -> Reply:
        own = {**asked.headers, "authorization": f"Bearer {TOKEN}"}
        if asked.headers.get("authorization") == f"Bearer {OWN_TOKEN}":
            asked = Asked(asked.method, asked.path, asked.query, own, asked.body)
        wanted = asked.query.get("identifier")
        if wanted is None or asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return super().__call__(asked)
        value = wanted[0].rpartition("|")[2]
        kind = asked.path.rpartition("/")[2]
        found = [
            r
            for r in self.resources
            if r["resourceType"] == kind
            and any(i.get("value") == value for i in r.get("identifier", ()))
        ]
        return Reply.json(a_bundle(*found))


class ArrivingArchive(DicomwebServer):
    """A DICOMweb server that answers study searches in full, and metadata."""

    def __call__(self, asked: Asked) -> Reply:
        if self.status is not None:
            return Reply(self.status)
        if asked.path == "/dicomweb/studies":
            return self._studies(asked.query)
        if re.fullmatch(r"/dicomweb/studies/[\d.]+/instances", asked.path):
            return self._instances(asked.path.split("/")[3])
        if asked.path.endswith("/metadata"):
            return self._metadata(asked.path)
        return super().__call__(asked)

    def _studies(self, query: dict[str, list[str]]) -> Reply:
        studies: dict[str, list[Dataset]] = {}
        for _, header in self._stored():
            studies.setdefault(str(header.StudyInstanceUID), []).append(header)
        answers = [
            _study(headers)
            for uid, headers in studies.items()
            if query.get("StudyInstanceUID", [uid]) == [uid]
            and headers[0].StudyDate >= query.get("StudyDate", ["-"])[0].partition("-")[0]
            and query.get("ModalitiesInStudy", [headers[0].Modality]) == [headers[0].Modality]
            and query.get("offset", ["0"]) == ["0"]
        ]
        return Reply.json(answers, kind="application/dicom+json")

    def _instances(self, study_uid: str) -> Reply:
        answers = []
        for _, header in self._stored():
            if str(header.StudyInstanceUID) == study_uid:
                answer = Dataset()
                for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"):
                    answer[keyword] = header[keyword]
                answers.append(answer.to_json_dict())
        return Reply.json(answers, kind="application/dicom+json")

    def _metadata(self, path: str) -> Reply:
        uid = path.split("/")[-2]
        found = [h for _, h in self._stored() if str(h.SOPInstanceUID) == uid]
        documents = [h.to_json_dict() for h in found]
        return Reply.json(documents, kind="application/dicom+json")


def _study(headers: Sequence[Dataset]) -> dict[str, Any]:
    answer = Dataset()
    for keyword in (
        *("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "AccessionNumber"),
        *("PatientBirthDate", "PatientSex", "StudyDate"),
    ):
        if keyword in headers[0]:
            answer[keyword] = headers[0][keyword]
    answer.ModalitiesInStudy = sorted({str(h.Modality) for h in headers})
    answer.NumberOfStudyRelatedInstances = len(headers)
    return dict(answer.to_json_dict())


class OwnTokens:
    """Implements `cds.ports.BackendTokens`."""

    def __init__(self) -> None:
        self.is_configured = True

    def access_token(
        self, registration: EhrRegistration, *, scope: str, deadline: object
    ) -> SecretText:
        del registration, deadline
        assert "system/ImagingStudy.rs" in scope
        if not self.is_configured:
            raise CdsError(Reason.INVALID_CONFIGURATION, "No credentials of ours are registered.")
        return SecretText(OWN_TOKEN)


class ToyTools:
    """An encoder and a library that always answer the same."""

    encoder_name, encoder_hash, dimension = "toy", "e" * 64, 4

    def embed(self, frames: Sequence[Any]) -> list[ImageEmbedding]:
        vector = np.array([1, 0, 0, 0], dtype=np.float32)
        return [ImageEmbedding(vector, self.encoder_hash) for _ in frames]

    def rank(self, _query: object, _eligibility: object, *, cutoff: int) -> Ranking:
        del cutoff
        known_at = FixedClock().now() - timedelta(days=900)
        finding = Finding(Coding("Pneumonia"), "clinical", is_diagnosis=True)
        cases = [
            LibraryCase(f"c{i}", "x", f"p{i}", f"s{i}", known_at=known_at, findings=(finding,))
            for i in range(12)
        ]
        hits = tuple(Hit(case, f"pic-{case.case_id}", 0.9, 0.9, None) for case in cases)
        eligible = CompositionOfEligible(100, {"pneumonia": 30}, {}, {}, 0, {})
        return Ranking(hits, eligible, 0.9, 0.58, "gen", "toy library", 200)


def a_film(number: int = 1, **overrides: Any) -> bytes:
    """Return one film of the study, large enough to be compared."""
    stored = np.random.default_rng(number).integers(0, 4095, (128, 128)).astype(np.uint16)
    uid = f"{STUDY_INSTANCE_UID}.1.{number}"
    return dicom_bytes(a_dataset(stored, SOPInstanceUID=uid, InstanceNumber=number, **overrides))


def a_rejection_note(*rejected: str, code: str = "113037") -> bytes:
    """Return a Key Object Selection that rejects instances (IHE IOCM)."""
    title, instance, series, study = Dataset(), Dataset(), Dataset(), Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, "DCM", "Rejected"
    references = []
    for uid in rejected:
        instance = Dataset()
        instance.ReferencedSOPInstanceUID = uid
        references.append(instance)
    series.SeriesInstanceUID, series.ReferencedSOPSequence = f"{STUDY_INSTANCE_UID}.1", references
    study.StudyInstanceUID, study.ReferencedSeriesSequence = STUDY_INSTANCE_UID, [series]
    note = a_dataset(
        SOPInstanceUID=f"{STUDY_INSTANCE_UID}.9.1",
        SeriesInstanceUID=f"{STUDY_INSTANCE_UID}.9",
        SOPClassUID=KEY_OBJECT,
        Modality="KO",
        PixelData=None,
    )
    note.ConceptNameCodeSequence = [title]
    note.CurrentRequestedProcedureEvidenceSequence = [study]
    return dicom_bytes(note)


class ArrivalHospital:
    """Everything between an arriving study and a hook; messages run when the test says so."""

    def __init__(self, state_dir: Path, server: LocalServer, **overrides: Any) -> None:
        self.server = server
        self.record = ArrivingRecord(a_patient(), an_imaging_study())
        self.archive = ArrivingArchive(a_film())
        server.answer = self._answer
        self.record.base_url = f"{server.url}/fhir"
        self.clock = FixedClock()
        self.settings = Settings(state_dir=state_dir, queue_limit=20)
        initialise(self.settings)
        self.storage = open_storage(self.settings, self.clock)
        self.registration = a_registration(
            **{
                "fhir_base_url": self.record.base_url,
                "default_pacs_url": f"{server.url}/dicomweb",
                "permitted_networks": ("127.0.0.0/8",),
                "arrival": ENROLLED,
                "stage": Stage.SANDBOX,
                **overrides,
            }
        )
        self.storage.registrations.save(self.registration)
        self.clients = EgressClients(development=True)
        self.tokens = OwnTokens()
        self.background: Background = open_background(
            self.settings,
            self.storage,
            self.clients,
            clock=self.clock,
            tokens=self.tokens,
            gates=PacsGates(pace=Pace(self.clock.now, self._elapsed_s, self._slept)),
        )
        self.analyst = self._analyst()
        self.worker = self.background.worker(lambda: self.analyst, n_threads=1)

    def _elapsed_s(self) -> float:
        return self.clock.now().timestamp()

    def _slept(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def run_queue(self) -> None:
        """Run every due job, also those that jobs queue; the clock stands still."""
        huey = self.background.queue.messages.huey
        for _ in range(200):  # a job that queues itself again at once is a defect
            task = huey.dequeue()
            if task is None:
                return
            huey.execute(task)
        raise AssertionError("the queue does not come to rest")

    def run_due(self, by: timedelta) -> None:
        """Move the clock, send what is overdue again, and run it."""
        self.clock.advance(by)
        self.worker.tick()
        self.run_queue()

    def hook(self) -> HookAnalysis:
        """Answer a hook with the launch's token."""
        access = FhirAccess(self.registration, SecretText(TOKEN), PATIENT_ID)
        return self.analyst.for_hook(
            access, prefetch=None, deadline=TimeLimit(30), as_of=self.clock.now()
        )

    def jobs(self) -> tuple[Job, ...]:
        return self.background.ledger.desk.list(states=tuple(JobState))

    def fetched_pictures(self) -> list[Asked]:
        """Return the requests that fetched pixels since `forget`."""
        pixels = re.compile(r"/dicomweb/.*/instances/[\d.]+")
        return [a for a in self.server.asked if pixels.fullmatch(a.path)]

    def forget(self) -> None:
        """Forget what the servers were asked so far."""
        self.server.asked.clear()

    def close(self) -> None:
        self.background.queue.messages.huey.storage.close()
        self.storage.engine.dispose()

    def _answer(self, asked: Asked) -> Reply:
        is_record = asked.path.startswith("/fhir")
        return self.record(asked) if is_record else self.archive(asked)

    def _analyst(self) -> Analyst:
        decode = partial(frames_from_dicom, isolate=False)
        reader = RestFhirReader(self.clients, clock=self.clock)
        images = DicomwebSource(self.clients, decode=decode)
        toy = ToyTools()
        passport = IndexPassport(
            *("gen", "toy library", "toy", "e", "record-1", 4, 4, 1, 1, 1, 0.58, 0.2),
            self.clock.now().isoformat(),
        )
        return Analyst(
            ports=self.background.analysis_ports(reader, images),
            tools=Tools(toy, CataloguePatientFeatures(), toy, self.storage.keys),
            passport=lambda: passport,
            defaults=AnalysisDefaults("0.1", "lib", 31, BlockWeights(0.6)),
        )


@contextmanager
def an_arrival_hospital(state_dir: Path, **overrides: Any) -> Iterator[ArrivalHospital]:
    with a_server(lambda _asked: Reply(404)) as server:
        hospital = ArrivalHospital(state_dir, server, **overrides)
        try:
            yield hospital
        finally:
            hospital.close()
