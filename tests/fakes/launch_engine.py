"""An engine for the app's tests: real HTTP to a local SMART server, answers that a test has set."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import requests
from PIL import Image

from cds.adapters.dicom_files import frames_from_file
from cds.domain.errors import CdsError, Reason
from cds.domain.film import film_facts
from cds.domain.fitness import check_fit
from cds.domain.launch import LaunchAnalysis, StudyHint
from cds.domain.query import DEFAULT_CUTOFF, BlockWeights
from cds.domain.region_pair import RegionPair
from cds.domain.registration import EhrRegistration, ReportMode, Stage
from cds.domain.report import CaseReport
from cds.domain.study import StudyRef
from cds.domain.uploaded import UploadedPicture, query_of_upload
from cds.ports import Deadline, FhirAccess
from cds.settings import Settings
from tests.builders.case_report import a_case_report, a_launch_analysis
from tests.fakes.clock import FixedClock
from tests.fakes.engine import FakeEngine, FakeRegistrations
from tests.fakes.session_store import MemorySessionStore


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


class LocalHttp:
    """Posts forms with requests, as egress will."""

    def post_form(
        self, url: str, form: dict[str, str], *, headers: dict[str, str], deadline: Deadline
    ) -> Answer:
        try:
            got = requests.post(  # stands in for egress
                url, data=form, headers=headers, timeout=deadline.remaining_s()
            )
        except requests.RequestException:
            raise CdsError(
                Reason.UPSTREAM_FAILED, "The EHR's sign-in service could not be reached."
            ) from None
        return Answer(got.status_code, got.content)


def grey_picture(seed: int, side: int = 96) -> bytes:
    """A grey PNG that differs by seed."""
    image = Image.new("L", (side, side), 40 + seed * 29 % 180)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


class FakeLaunchEngine(FakeEngine):
    """Implements `smart_app.engine_port.LaunchEngine`; the registered EHR is a local server."""

    def __init__(self, fhir_base_url: str, **registration: Any) -> None:
        values: dict[str, Any] = {
            "ehr_id": "sandbox",
            "name": "Sandbox",
            "fhir_base_url": fhir_base_url,
            "client_id": "precedent",
            "mrn_system": "https://hospital.example.invalid/mrn",
            "stage": Stage.SANDBOX,
            "report_mode": ReportMode.PRELIMINARY,
            "time_zone": "Europe/Berlin",
            "frame_ancestors": ("http://localhost:8100",),
        }
        super().__init__(
            clock=FixedClock(datetime.now(UTC)),  # id_tokens are signed at the real time
            registrations=FakeRegistrations((EhrRegistration(**{**values, **registration}),)),
            settings=Settings(
                public_url="http://127.0.0.1:8000",
                library_name="the synthetic library",
                development=True,
            ),
        )
        self.sessions = MemorySessionStore(self.clock)
        self.analysis: LaunchAnalysis = a_launch_analysis()
        self.failure: CdsError | None = None
        self.analysed: list[tuple[FhirAccess, StudyHint | None, BlockWeights]] = []
        self.uploads: list[tuple[UploadedPicture, EhrRegistration]] = []
        self.upload_report: CaseReport = a_case_report(
            report_id="0b6e2b0e-52a8-5d0c-8c3e-1d5a1c9e7a02", patient_id=None, study=None
        )
        self.viewed: list[tuple[str, str, str, str]] = []
        self.model_change_sentence: str | None = None

    def smart_configuration(self, registration: EhrRegistration) -> Any:
        url = f"{registration.fhir_base_url}/.well-known/smart-configuration"
        try:
            members = requests.get(url, timeout=5).json()  # stands in for egress
        except requests.RequestException:
            raise CdsError(Reason.UPSTREAM_FAILED, "The EHR could not be reached.") from None
        names = ("issuer", "jwks_uri", "authorization_endpoint", "introspection_endpoint")
        return SimpleNamespace(
            token_endpoint=members["token_endpoint"],
            capabilities=tuple(members["capabilities"]),
            authorization_response_iss_parameter_supported=members.get(
                "authorization_response_iss_parameter_supported", False
            ),
            **{name: members.get(name) for name in names},
        )

    def http(self, registration: EhrRegistration) -> LocalHttp:  # the port's
        return LocalHttp()

    def key_set(
        self,
        registration: EhrRegistration,  # the port's
        url: str,
        *,
        deadline: Deadline,
    ) -> Mapping[str, Any]:
        got = requests.get(url, timeout=deadline.remaining_s())  # as above
        members: Mapping[str, Any] = got.json()
        return members

    def analyse_for_launch(
        self,
        access: FhirAccess,
        *,
        study_hint: StudyHint | None,
        weights: BlockWeights,
        deadline: Deadline,  # the port's
    ) -> LaunchAnalysis:
        self.analysed.append((access, study_hint, weights))
        if self.failure is not None:
            raise self.failure
        studies = self.analysis.studies
        study = next((s for s in studies if study_hint and study_hint.names(s)), None)
        if study is None:
            return replace(self.analysis, study=None, report=None)
        if self.analysis.report is not None:
            self.results.save(self.analysis.report, requested_by="launch")
        return replace(self.analysis, study=study)

    def analyse_upload(self, upload: UploadedPicture, registration: EhrRegistration) -> CaseReport:
        self.uploads.append((upload, registration))
        if self.failure is not None:
            raise self.failure
        frames = frames_from_file(upload.content, isolate=False)
        query = query_of_upload(
            upload,
            frames,
            registration,
            as_of=self.clock.now(),
            weights=BlockWeights(),
            cutoff=DEFAULT_CUTOFF,
        )
        check_fit(query, film_facts(query.context, None, as_of=query.as_of))
        return self.upload_report

    def query_picture_png(
        self,
        access: FhirAccess,  # the port's
        study: StudyRef,  # the port's
        *,
        deadline: Deadline,  # the port's
    ) -> bytes:
        return grey_picture(3)

    def model_change(self) -> str | None:
        return self.model_change_sentence

    def region_pictures(
        self,
        access: FhirAccess,  # the port's
        study: StudyRef,  # the port's
        pair: RegionPair,
        *,
        who: str,
        deadline: Deadline,  # the port's
    ) -> SimpleNamespace:
        if self.failure is not None:
            raise self.failure
        self.viewed.append((pair.case_id, pair.picture_id, access.registration.ehr_id, who))
        return SimpleNamespace(png=grey_picture(5))

    def model_card(self) -> str | None:
        return "# Toy encoder <b>"

    def case_picture_png(self, case_id: str, picture_id: str, *, ehr_id: str, who: str) -> bytes:
        self.viewed.append((case_id, picture_id, ehr_id, who))
        return grey_picture(len(self.viewed))
