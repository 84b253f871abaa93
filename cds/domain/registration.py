"""An EHR that this installation is registered with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from cds.domain.arrival import NOT_ENROLLED, ArrivalRules
from cds.domain.pacs_policy import PacsPolicy
from cds.domain.secrecy import SecretText


class Stage(StrEnum):
    """Stage of use (SAFETY R-FDA-1); no stage is called clinical."""

    SANDBOX = "sandbox"
    SILENT = "silent"
    RESEARCH = "research"


class ReportMode(StrEnum):
    """What the FHIR API may serve (SAFETY R-AIT-4)."""

    OFF = "off"
    DRAFT = "draft"
    PRELIMINARY = "preliminary"


class SigningAlgorithm(StrEnum):
    """How we sign in at an EHR's token server; SMART names these two."""

    ES384 = "ES384"
    RS384 = "RS384"


class ApprovalRole(StrEnum):
    """Whose approval of the service a site names (CLINICAL 2.4, line 14)."""

    RADIOLOGY_OWNER = "radiology-owner"
    PRIVACY = "privacy"
    SECURITY = "security"
    EHR_TEAM = "ehr-team"


@dataclass(frozen=True, slots=True)
class Approval:
    """That a person at the site has approved the service, and when."""

    role: ApprovalRole
    name: str
    approved_on: date


# What is read without a user (DESIGN 3.2): the least that an analysis needs; nothing is written.
BACKEND_SCOPES = tuple(
    f"system/{kind}.rs"
    for kind in (
        "Patient",
        "Condition",
        "Observation",
        "ImagingStudy",
        "Endpoint",
        "DiagnosticReport",
        "ServiceRequest",
        "Encounter",
        "Procedure",
        "Location",
        "Consent",
    )
)


@dataclass(frozen=True, slots=True)
class CdsClient:
    """Who may call our CDS Hooks endpoints for an EHR, and with which keys.

    Attributes
    ----------
    issuer
        Exact `iss` of the JWT.
    jku
        The only key-set URL that is fetched for this issuer; None with a static key set.
    jwks_json
        Static key set (JSON text) exchanged out of band; None with `jku`.

    """

    issuer: str
    jku: str | None = None
    jwks_json: str | None = None


@dataclass(frozen=True, slots=True)
class EhrRegistration:
    """One EHR (tenant): its addresses, our credentials there, and what is agreed with it.

    Attributes
    ----------
    ehr_id
        URL segment, ``[a-z0-9-]{1,40}``.
    fhir_base_url
        Equal to the `iss` of its SMART launches, byte by byte.
    permitted_networks
        CIDR networks that its origins may resolve to beyond public addresses; loopback and
        private addresses pass only when named here.
    origins
        Further origins (scheme://host:port) that may be contacted for this EHR.
    default_pacs_url
        DICOMweb service root used where an ImagingStudy has no Endpoint.
    pacs_policy
        The load that the administrator of this PACS has agreed to.
    pacs_time_zone
        IANA name of the zone of the PACS's dates and times; None means `time_zone`.
    mrn_system
        Identifier system of the record number that DICOM's Patient ID holds.
    pacs_issuer
        Issuer of Patient ID that stands for `mrn_system` in this EHR's pictures.
    introspection_url
        RFC 7662 endpoint; None means it is read from the SMART configuration.
    ready_card
        Site option of the silence table, row 7: one info card when a comparison is ready.
    frame_ancestors
        Origins that may frame the app.
    backend_client_id
        Our id at its token server for work without a user (SMART Backend Services); None means
        that nothing is read in the background.
    backend_algorithm
        How the assertions of that client are signed.
    backend_scopes
        SMART scopes that it asks for.
    approvals
        Who at the site has approved the service, at most one for each role.
    portal_release_rule
        When the EHR releases what we write to the patient's portal, in the site's words.
    portal_release_owner
        Who named that rule.
    arrival
        What is analysed before anyone asks; nothing by default.

    """

    ehr_id: str
    name: str
    fhir_base_url: str
    client_id: str
    client_secret: SecretText | None = None
    permitted_networks: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    default_pacs_url: str | None = None
    pacs_user: str | None = None
    pacs_password: SecretText | None = None
    mrn_system: str | None = None
    pacs_issuer: str | None = None
    introspection_url: str | None = None
    cds_clients: tuple[CdsClient, ...] = ()
    stage: Stage = Stage.SILENT
    protocol_number: str | None = None
    report_mode: ReportMode = ReportMode.OFF
    image_module: bool = True
    ready_card: bool = False
    lookback_hours: int = 72
    department_label: str = "Precedent (similar past cases)"
    time_zone: str = "UTC"
    frame_ancestors: tuple[str, ...] = ()
    pacs_policy: PacsPolicy = field(default_factory=PacsPolicy)
    pacs_time_zone: str | None = None
    backend_client_id: str | None = None
    backend_algorithm: SigningAlgorithm = SigningAlgorithm.ES384
    backend_scopes: tuple[str, ...] = BACKEND_SCOPES
    approvals: tuple[Approval, ...] = ()
    portal_release_rule: str | None = None
    portal_release_owner: str | None = None
    arrival: ArrivalRules = NOT_ENROLLED
