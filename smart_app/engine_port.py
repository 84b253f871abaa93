"""What the pages need from the engine; `cds.engine.Engine` has it."""

from __future__ import annotations

from typing import Protocol, cast

from cds.domain.launch import LaunchAnalysis, StudyHint
from cds.domain.query import BlockWeights
from cds.domain.region_pair import RegionPair
from cds.domain.registration import EhrRegistration
from cds.domain.report import CaseReport
from cds.domain.study import StudyRef
from cds.domain.uploaded import UploadedPicture
from cds.ports import Deadline, FhirAccess
from cds.web.engine_surface import MachineEngine, SmartEndpoints, current_engine
from smart_app.launch.session_store import SessionStore


class SmartConfiguration(SmartEndpoints, Protocol):
    """An EHR's ``.well-known/smart-configuration``, checked; absent members are None or empty."""

    @property
    def issuer(self) -> str | None:
        """Return the `iss` of its id_tokens."""
        ...

    @property
    def jwks_uri(self) -> str | None:
        """Return where its keys are."""
        ...

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Return what it says that it can do."""
        ...

    @property
    def authorization_response_iss_parameter_supported(self) -> bool:
        """Tell whether its authorization answers say whose they are (RFC 9207)."""
        ...


class HttpAnswer(Protocol):
    """What came back; the body is bounded."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        ...

    @property
    def body(self) -> bytes:
        """Return the whole body."""
        ...


class Http(Protocol):
    """HTTP to the registered origins of one EHR, through the egress rules."""

    def post_form(
        self, url: str, form: dict[str, str], *, headers: dict[str, str], deadline: Deadline
    ) -> HttpAnswer:
        """Post a form; an answer of any status comes back."""
        ...


class RegionPictures(Protocol):
    """Two pictures with regions laid over them."""

    @property
    def png(self) -> bytes:
        """Return both, the query's on the left, each in one half of a PNG twice as wide as high."""
        ...


class LaunchEngine(MachineEngine, Protocol):
    """The engine as the machine doors see it, and what the clinicians' door needs beyond that."""

    @property
    def sessions(self) -> SessionStore:
        """Return the memory of launches and sessions."""
        ...

    def smart_configuration(self, registration: EhrRegistration) -> SmartConfiguration:
        """Return the EHR's SMART configuration, fetched through egress."""
        ...

    def http(self, registration: EhrRegistration) -> Http:
        """Return HTTP to this EHR's registered origins."""
        ...

    def analyse_for_launch(
        self,
        access: FhirAccess,
        *,
        study_hint: StudyHint | None,
        weights: BlockWeights,
        deadline: Deadline,
    ) -> LaunchAnalysis:
        """Read the record with the user's token, choose the study, compare it.

        Without a hint a study is only chosen if it is the only one.
        """
        ...

    def analyse_upload(self, upload: UploadedPicture, registration: EhrRegistration) -> CaseReport:
        """Compare a picture that the user brought along; bound to no patient, nothing is kept."""
        ...

    def query_picture_png(
        self, access: FhirAccess, study: StudyRef, *, deadline: Deadline
    ) -> bytes:
        """Return the query's picture as 8-bit grey PNG, identity checked again."""
        ...

    def model_change(self) -> str | None:
        """Return what is said about a change of the image model in the last 30 days, or None."""
        ...

    def region_pictures(
        self,
        access: FhirAccess,
        study: StudyRef,
        pair: RegionPair,
        *,
        who: str,
        deadline: Deadline,
    ) -> RegionPictures:
        """Return both pictures of a pair with the regions that make them similar; audited."""
        ...

    def model_card(self) -> str | None:
        """Return the text of the image model's card, None if it came without one."""
        ...

    def case_picture_png(self, case_id: str, picture_id: str, *, ehr_id: str, who: str) -> bytes:
        """Return a library picture as PNG; audited as `case.viewed`."""
        ...


def app_engine() -> LaunchEngine:
    """Return the engine of the application that handles the current request."""
    return cast("LaunchEngine", current_engine())
