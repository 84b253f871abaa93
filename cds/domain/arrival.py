"""Studies that arrive: which are analysed before anyone asks, and what is known of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cds.domain.job import OrderPriority
from cds.domain.pixels import PictureIdentity

EVERY_LOCATION = "*"
SENSITIVE_LABELS = ("R", "V")  # HL7 v3 Confidentiality: restricted, very restricted
REJECTION_CODES = frozenset({"113001", "113037", "113038", "113039"})  # DICOM PS3.16 CID 7011


@dataclass(frozen=True, slots=True)
class ArrivalRules:
    """What an EHR agreed to about analysing studies that nobody has opened; off by default.

    Attributes
    ----------
    is_enrolled
        Whether anything is analysed on arrival at all.
    legal_basis
        Purpose and legal basis as the hospital recorded them (CLINICAL 3.1); without one nothing
        is analysed on arrival.
    modalities
        Enrolled kinds of study; none by default.
    locations
        Enrolled places: a FHIR reference or display, a DICOM department or station; ``*`` is every
        place, none by default.
    is_polled
        Whether the default PACS is asked for new studies.
    poll_every_s, poll_days
        How often it is asked, and how many days before today are looked at.
    complete_after_s
        How long the number of instances must not have changed.
    sensitive_labels
        Security labels of Patient or ImagingStudy that exclude a study.

    """

    is_enrolled: bool = False
    legal_basis: str | None = None
    modalities: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    is_polled: bool = False
    poll_every_s: int = 60
    poll_days: int = 1
    complete_after_s: int = 60
    sensitive_labels: tuple[str, ...] = SENSITIVE_LABELS


NOT_ENROLLED = ArrivalRules()


@dataclass(frozen=True, slots=True, repr=False)
class FoundStudy:
    """A study as a search of the PACS lists it."""

    study_instance_uid: str
    patient_id_value: str | None = None
    issuer: str | None = None
    accession_number: str | None = None
    modalities: tuple[str, ...] = ()
    n_instances: int | None = None

    def __repr__(self) -> str:
        return "FoundStudy(<redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class ArrivedStudy:
    """What the record says about a study that arrived.

    Attributes
    ----------
    status
        Of the FHIR ImagingStudy.
    security_labels
        Of the ImagingStudy and of its Patient.
    replaced_by
        Logical id of the Patient that this one was merged into, or None.

    """

    imaging_study_id: str
    patient_id: str
    study_instance_uid: str | None
    status: str = "available"
    modalities: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    n_instances: int | None = None
    order_priority: OrderPriority | None = None
    security_labels: tuple[str, ...] = ()
    replaced_by: str | None = None

    def __repr__(self) -> str:
        return f"ArrivedStudy({self.status}, <redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class StudyInventory:
    """What a PACS holds of a study right now, without any picture.

    Attributes
    ----------
    identity
        Whose study the PACS says it is.
    instances
        SOP Instance UIDs with their series, sorted.
    rejected
        SOP Instance UIDs that a rejection note names (IHE IOCM).
    modalities, locations
        Of its series.
    n_stated
        Number of Study Related Instances (0020,1208), None where the PACS gives none.

    """

    identity: PictureIdentity
    instances: tuple[tuple[str, str], ...]
    rejected: frozenset[str] = frozenset()
    modalities: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    n_stated: int | None = None

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) over instances, rejections and the patient they belong to."""
        identity = self.identity
        named = [identity.patient_id_value or "", identity.issuer or "", str(identity.birth_on)]
        parts = [*named, *map("|".join, self.instances), "rejected", *sorted(self.rejected)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def is_rejected(self) -> bool:
        """Tell whether every picture is rejected."""
        return bool(self.rejected) and {sop for _, sop in self.instances} <= self.rejected

    def __repr__(self) -> str:
        return f"StudyInventory({len(self.instances)} instances, <redacted>)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What decides whether a study may be analysed although nobody has opened it."""

    modalities: tuple[str, ...]
    locations: tuple[str, ...]
    security_labels: tuple[str, ...] = ()
    is_on_site_list: bool = False
    is_asked_for: bool = False


def why_not_analysed(rules: ArrivalRules, candidate: Candidate) -> str | None:
    """Return why a study is not analysed on arrival, or None if it is.

    A person's own request (`is_asked_for`) overrides enrolment, never protection.

    Examples
    --------
    >>> rules = ArrivalRules(True, "treatment, board 12/2026", ("DX",), ("*",))
    >>> why_not_analysed(rules, Candidate(("DX",), ()))
    >>> why_not_analysed(rules, Candidate(("DX",), (), security_labels=("V",)))
    'The chart carries a security label; it is never analysed on arrival.'

    """
    protected = why_protected(rules, candidate)
    if protected is not None or candidate.is_asked_for:
        return protected
    return _why_not_enrolled(rules, candidate)


def why_protected(rules: ArrivalRules, candidate: Candidate) -> str | None:
    """Return why a study is never analysed before its chart is opened, or None if it may be."""
    if rules.legal_basis is None:
        return (
            "No purpose and legal basis is recorded for this EHR; see `precedent arrivals enrol`."
        )
    if set(candidate.security_labels) & set(rules.sensitive_labels):
        return "The chart carries a security label; it is never analysed on arrival."
    if candidate.is_on_site_list:
        return "The patient is on the site's list; never analysed on arrival."
    return None


def _why_not_enrolled(rules: ArrivalRules, candidate: Candidate) -> str | None:
    if not rules.is_enrolled:
        return "This EHR is not enrolled for analysis on arrival."
    if not set(candidate.modalities) & set(rules.modalities):
        return "The kind of study is not enrolled."
    is_everywhere = EVERY_LOCATION in rules.locations
    if not is_everywhere and not set(candidate.locations) & set(rules.locations):
        return "The place where the study was made is not enrolled."
    return None
