"""What the machine doors need from the engine; the real one and the tests' fake both have it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol, cast

from flask import current_app

from cds.domain.errors import CdsError
from cds.domain.patient import ClinicalContext
from cds.domain.registration import EhrRegistration
from cds.domain.report import CaseReport
from cds.domain.secrecy import SecretText
from cds.domain.source_attributes import SourceAttributeCard
from cds.domain.study import StudyRef
from cds.ports import (
    AuditTrail,
    Clock,
    Deadline,
    FhirAccess,
    IdentityKeys,
    Registrations,
    ResultStore,
)
from cds.settings import Settings
from cds.web.arrival_surface import BackgroundWork
from cds.web.hook_calls import HookCalls
from cds.web.seen_tokens import SeenTokens

_EXTENSION = "precedent.engine"


class HookAnalysis(Protocol):
    """What a hook call found out in time."""

    @property
    def context(self) -> ClinicalContext:
        """Return the record as the caller may see it."""
        ...

    @property
    def study(self) -> StudyRef | None:
        """Return the newest supported study within the site's window, or None."""
        ...

    @property
    def report(self) -> CaseReport | None:
        """Return the answer, if the study was compared or refused in words."""
        ...

    @property
    def failure(self) -> CdsError | None:
        """Return why the study could not be assessed, or None."""
        ...

    @property
    def is_pending(self) -> bool:
        """Tell whether the deadline came first."""
        ...


class TokenClaims(Protocol):
    """What an EHR's authorization server says about an access token (RFC 7662)."""

    @property
    def scope(self) -> str:
        """Return the granted SMART scopes, space-separated."""
        ...

    @property
    def client_id(self) -> str:
        """Return the client that the token was issued to."""
        ...

    @property
    def patient_id(self) -> str | None:
        """Return the patient in context, or None."""
        ...

    @property
    def subject(self) -> str | None:
        """Return the user, or None."""
        ...

    @property
    def fhir_user(self) -> str | None:
        """Return the FHIR resource of the user, for example ``Practitioner/okafor``, or None."""
        ...

    @property
    def expires_at(self) -> datetime:
        """Return the aware UTC time after which the token is void."""
        ...


class SmartEndpoints(Protocol):
    """Where an EHR's authorization server answers."""

    @property
    def token_endpoint(self) -> str:
        """Return the token endpoint."""
        ...

    @property
    def authorization_endpoint(self) -> str | None:
        """Return the authorization endpoint, or None."""
        ...

    @property
    def introspection_endpoint(self) -> str | None:
        """Return the introspection endpoint, or None."""
        ...


class ReadinessCheck(Protocol):
    """One thing that must work before calls are answered."""

    @property
    def name(self) -> str:
        """Return its short name, for example ``database``."""
        ...

    @property
    def ok(self) -> bool:
        """Tell whether it works."""
        ...

    @property
    def sentence(self) -> str:
        """Return what is wrong and what to do, or that it works; free of PHI."""
        ...


class MachineEngine(Protocol):
    """The engine as the machine doors see it."""

    @property
    def settings(self) -> Settings:
        """Return the installation's settings."""
        ...

    @property
    def clock(self) -> Clock:
        """Return the clock."""
        ...

    @property
    def registrations(self) -> Registrations:
        """Return the EHRs."""
        ...

    @property
    def audit(self) -> AuditTrail:
        """Return the audit trail."""
        ...

    @property
    def results(self) -> ResultStore:
        """Return the kept answers."""
        ...

    @property
    def hook_calls(self) -> HookCalls:
        """Return what was answered to hooks and shown to users."""
        ...

    @property
    def seen_tokens(self) -> SeenTokens:
        """Return the memory of single-use tokens."""
        ...

    @property
    def keys(self) -> IdentityKeys:
        """Return the keyed hashes."""
        ...

    @property
    def background(self) -> BackgroundWork:
        """Return background work: arrivals, jobs, who has seen which answer."""
        ...

    def analyse_for_hook(
        self,
        access: FhirAccess,
        *,
        prefetch: Mapping[str, Any] | None,
        deadline: Deadline,
        as_of: datetime,
    ) -> HookAnalysis:
        """Analyse the newest study; CdsError only where the record could not be read."""
        ...

    def ready(self) -> tuple[ReadinessCheck, ...]:
        """Return every check of readiness."""
        ...

    def source_attributes(self) -> SourceAttributeCard:
        """Return the card of the image model in force."""
        ...

    def fhir_token(self, registration: EhrRegistration, token: SecretText) -> TokenClaims:
        """Return what the EHR's authorization server says about a token.

        Raises
        ------
        CdsError
            NOT_AUTHENTICATED if the token is not active; UPSTREAM_FAILED, UPSTREAM_REFUSED or
            DEADLINE if the server could not be asked.

        """
        ...

    def smart_configuration(self, registration: EhrRegistration) -> SmartEndpoints:
        """Return where the EHR's authorization server answers; remembered for a while.

        Raises
        ------
        CdsError
            EGRESS_REFUSED, UPSTREAM_FAILED, UPSTREAM_REFUSED or DEADLINE.

        """
        ...

    def key_set(
        self, registration: EhrRegistration, url: str, *, deadline: Deadline
    ) -> Mapping[str, Any]:
        """Return the JSON Web Key Set at a registered `jku`, fetched through the egress rules.

        Raises
        ------
        CdsError
            EGRESS_REFUSED, UPSTREAM_FAILED, UPSTREAM_REFUSED or DEADLINE.

        """
        ...

    def backend_key_set(self, ehr_id: str) -> Mapping[str, Any]:
        """Return our public keys at this EHR's token server, as a JSON Web Key Set."""
        ...


def bind_engine(extensions: dict[str, Any], engine: MachineEngine) -> None:
    """Remember the engine in a Flask application's `extensions`."""
    extensions[_EXTENSION] = engine


def current_engine() -> MachineEngine:
    """Return the engine of the application that handles the current request."""
    return cast("MachineEngine", current_app.extensions[_EXTENSION])
