"""What the engine needs from outside, as Protocols; adapters and fakes implement them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cds.domain.embedding import ImageEmbedding
from cds.domain.facts import PatientFacts, SharedFact
from cds.domain.patient import ClinicalContext
from cds.domain.pixels import PixelFrame
from cds.domain.query import Eligibility, FusedQuery
from cds.domain.ranking import Ranking
from cds.domain.registration import EhrRegistration
from cds.domain.report import CaseReport
from cds.domain.secrecy import SecretText
from cds.domain.study import StudyRef
from cds.domain.text_box import TextBox

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]


class Clock(Protocol):
    """The time, so that tests can freeze it."""

    def now(self) -> datetime:
        """Return the aware UTC time."""
        ...


class Deadline(Protocol):
    """How long this call may still take."""

    def remaining_s(self) -> float:
        """Return seconds left, never negative."""
        ...


@dataclass(frozen=True, slots=True)
class FhirAccess:
    """Where and with which right the record is read; `access_token` None means prefetch only."""

    registration: EhrRegistration
    access_token: SecretText | None
    patient_id: str


class FhirReader(Protocol):
    """Reads the record over FHIR R4."""

    def read_context(
        self,
        access: FhirAccess,
        *,
        prefetch: Mapping[str, Any] | None,
        deadline: Deadline,
        as_of: datetime,
    ) -> ClinicalContext:
        """Return the record, from prefetch where present, else by REST within the deadline.

        Raises
        ------
        CdsError
            MISSING_CONTEXT if the Patient can be had neither way; IDENTITY_MISMATCH if a prefetched
            resource is about another patient; UPSTREAM_FAILED, UPSTREAM_REFUSED or DEADLINE if the
            Patient cannot be read. Other resources that fail are named in `missing`.

        """
        ...


class ImageSource(Protocol):
    """Fetches pictures of a study."""

    def retrieve_frames(
        self,
        access: FhirAccess,
        study: StudyRef,
        *,
        patient_id_value: str | None,
        deadline: Deadline,
    ) -> tuple[PixelFrame, ...]:
        """Return the frames to compare, key frame first.

        The caller's token goes to the PACS only where the PACS has the FHIR server's own origin
        (SMART imaging access); elsewhere the registration's own PACS credentials are used.

        Raises
        ------
        CdsError
            NO_IMAGING if the PACS does not know the study; IMAGE_UNREADABLE or IMAGE_UNSUPPORTED;
            UPSTREAM_FAILED, UPSTREAM_REFUSED, EGRESS_REFUSED or DEADLINE.

        """
        ...


class ImageEmbedder(Protocol):
    """Turns frames into vectors."""

    @property
    def encoder_name(self) -> str:
        """Return the encoder's name."""
        ...

    @property
    def encoder_hash(self) -> str:
        """Return the SHA-256 of the encoder's manifest."""
        ...

    @property
    def dimension(self) -> int:
        """Return d."""
        ...

    def embed(self, frames: Sequence[PixelFrame]) -> list[ImageEmbedding]:
        """Return one unit-norm embedding per frame."""
        ...


class PatientFeatures(Protocol):
    """Turns age, sex, labs and vitals into the record block."""

    @property
    def version(self) -> str:
        """Return which definition of the block this is; part of the index passport."""
        ...

    @property
    def dimension(self) -> int:
        """Return r."""
        ...

    def vector(self, facts: PatientFacts) -> Float32Array | None:
        """Return shape ``(r,)``, float32, norm at most 1, or None if nothing is known."""
        ...

    def presence(self, facts: PatientFacts) -> Float32Array:
        """Return shape ``(f,)``: inner products are the share of the block that both have."""
        ...

    def shared(self, query: PatientFacts, case: PatientFacts) -> tuple[SharedFact, ...]:
        """Return what both sides have and is worth showing, strongest contribution first."""
        ...


class TextDetector(Protocol):
    """Finds writing that was burned into pixels; it does not read it."""

    @property
    def version(self) -> str:
        """Return which detector this is, for the record of an import."""
        ...

    def text_boxes(self, grey: NDArray[np.uint8]) -> tuple[TextBox, ...]:
        """Return what looks like writing on a picture of shape ``(rows, columns)``."""
        ...


class CaseLibrary(Protocol):
    """Finds the most similar past cases."""

    def rank(self, query: FusedQuery, eligibility: Eligibility, *, cutoff: int) -> Ranking:
        """Return the ranking.

        Raises
        ------
        CdsError
            INDEX_UNAVAILABLE if there is no index, or it was built with another encoder.

        """
        ...


class VectorIndex(Protocol):
    """Nearest neighbours by inner product over a fixed set of vectors."""

    def search(
        self,
        query_vector: Float32Array,
        *,
        cutoff: int,
        positions: IntArray | None = None,
    ) -> tuple[IntArray, Float32Array]:
        """Return the positions and inner products of the best `cutoff` vectors, best first.

        `positions`, sorted, restricts the search to a partition; None means all. Equal inner
        products are ordered by position.
        """
        ...

    def __len__(self) -> int:
        """Return how many vectors the index holds."""
        ...


class ResultStore(Protocol):
    """Keeps finished answers, encrypted."""

    def save(self, report: CaseReport, *, requested_by: str) -> None:
        """Keep the answer; a second save with the same id and equal content changes nothing."""
        ...

    def by_id(self, ehr_id: str, report_id: str) -> CaseReport | None:
        """Return the answer with this id of this EHR, or None."""
        ...

    def by_input_hash(self, ehr_id: str, input_hash: str) -> CaseReport | None:
        """Return the newest answer computed from exactly these inputs, or None."""
        ...

    def by_patient(self, ehr_id: str, patient_id: str) -> tuple[CaseReport, ...]:
        """Return the answers about a patient, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened; patient identity only as a keyed hash.

    Attributes
    ----------
    action
        For example ``hook.answered``, ``identity.mismatch``, ``case.viewed``, ``login``.
    outcome
        ``success``, or the `Reason` value of the refusal.

    """

    ehr_id: str
    action: str
    outcome: str
    who: str | None = None
    patient_key: str | None = None
    entity: str | None = None
    detail: str | None = None


class AuditTrail(Protocol):
    """Keeps what happened."""

    def record(self, event: AuditEvent) -> None:
        """Append one event."""
        ...


class Registrations(Protocol):
    """The EHRs that this installation knows."""

    def by_id(self, ehr_id: str) -> EhrRegistration | None:
        """Return the EHR with this id, or None."""
        ...

    def by_iss(self, iss: str) -> EhrRegistration | None:
        """Return the EHR whose FHIR base URL equals `iss` byte by byte, or None."""
        ...

    def all(self) -> tuple[EhrRegistration, ...]:
        """Return every EHR."""
        ...


class IdentityKeys(Protocol):
    """Keyed hashes (HMAC-SHA-256, hex) under the installation's secret."""

    def patient_key(self, namespace: str, value: str) -> str:
        """Return the key of a patient identifier within a namespace (issuer or system)."""
        ...

    def study_key(self, study_instance_uid: str) -> str:
        """Return the key of an original Study Instance UID."""
        ...


class BlobStore(Protocol):
    """Keeps pictures encrypted at rest."""

    def put(self, content: bytes) -> str:
        """Store bytes and return their key; equal bytes may share a key."""
        ...

    def get(self, key: str) -> bytes:
        """Return the bytes; CdsError NOT_FOUND if there are none."""
        ...

    def delete(self, key: str) -> None:
        """Remove the bytes; absent is fine."""
        ...
