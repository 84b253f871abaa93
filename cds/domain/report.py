"""The answer as one value; card, page and DiagnosticReport are renderings of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cds.domain.coding import Coding
from cds.domain.facts import Finding, Measurement, SetAside, SharedFact
from cds.domain.key_slices import SlicePlace
from cds.domain.study import StudyRef
from cds.domain.withdrawal import Withdrawal


class Direction(StrEnum):
    """A finding among the neighbours, compared with the eligible cases."""

    MORE = "more often"
    SIMILAR = "as often"
    LESS = "less often"


class Priority(StrEnum):
    """Suggested review priority (SAFETY R-DNG-1), five values."""

    IMMEDIATE = "Immediate"
    PROMPT = "Prompt"
    ROUTINE = "Routine follow-up"
    NONE = "No priority suggested"
    NOT_ASSESSED = "Not assessed"


class AnswerState(StrEnum):
    """What kind of answer this is."""

    COMPARED = "compared"
    NOTHING_COMPARABLE = "nothing-comparable"
    NOT_ASSESSED = "not-assessed"


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of a proportion, both ends in [0, 1]; descriptive."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One matched case, de-identified; for the app page only (SAFETY R-HIP-7).

    Attributes
    ----------
    rank
        1-based.
    similarity
        Of the fused blocks that both sides have; in [-1, 1]. Not a probability.
    image_similarity, record_similarity
        Of one block, None where a side lacks it; the record's over the values that both have.
    record_share
        Share of the record block, by weight, that both sides have.
    age_band
        For example ``60-69``; ``90 or older`` at the top.
    query_place, case_place
        Of CT and MR: which slice of this patient, and which of the case, are the most similar pair.

    """

    rank: int
    case_id: str
    picture_id: str | None
    similarity: float
    image_similarity: float | None
    record_similarity: float | None
    collection: str
    view: str
    age_band: str
    sex: str
    film_year: int | None
    findings: tuple[Finding, ...]
    record_share: float | None = None
    shared: tuple[SharedFact, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    outcomes: tuple[str, ...] = ()
    is_counter_example: bool = False
    query_place: SlicePlace | None = None
    case_place: SlicePlace | None = None


@dataclass(frozen=True, slots=True)
class FindingStatement:
    """How often a finding occurs among the neighbours; every n counts distinct patients.

    Attributes
    ----------
    eligible_kind
        What the eligible patients have in common, as words of the sentence.

    """

    coding: Coding
    is_diagnosis: bool
    n_with: int
    n: int
    interval: Interval
    n_eligible_with: int
    n_eligible: int
    eligible_kind: str
    direction: Direction
    sentence: str


@dataclass(frozen=True, slots=True)
class OutcomeStatement:
    """What became of the neighbours' patients after the film."""

    code: str
    horizon_days: int | None
    n: int
    n_known: int
    n_with: int | None
    interval: Interval | None
    sentence: str


@dataclass(frozen=True, slots=True)
class ReportVersions:
    """What the answer was computed with, for reproduction and recall."""

    software: str
    encoder_name: str
    encoder_hash: str
    index_generation: str
    wording: str


@dataclass(frozen=True, slots=True, repr=False)
class CaseReport:
    """One answer about one study of one patient.

    Attributes
    ----------
    report_id
        UUID, the logical id of the DiagnosticReport.
    input_hash
        SHA-256 (hex) over exactly what this caller could see: pictures, record, weights, versions.
    best_similarity, similarity_limit
        Of the gate block (image if there is a picture, else record); the limit refuses 5 % of the
        library's own cases.
    compared_part
        Of CT and MR, which slices were compared, that the rest was not (CLINICAL 5, item 19).
    not_assessed_reason
        The `cds.domain.errors.Reason` value when `state` is NOT_ASSESSED.
    withdrawn
        That the answer no longer holds; kept beside the answer, which itself never changes.
    sentences
        What every door says in full, in order; each door may show more, never contradict.

    """

    report_id: str
    ehr_id: str
    patient_id: str | None
    study: StudyRef | None
    created_at: datetime
    data_at: datetime
    state: AnswerState
    stage: str
    library_name: str
    versions: ReportVersions
    input_hash: str
    priority: Priority
    priority_sentence: str
    image_weight: float = 0.0
    record_weight: float = 0.0
    n_library_patients: int = 0
    n_eligible: int = 0
    best_similarity: float | None = None
    similarity_limit: float | None = None
    not_assessed_reason: str | None = None
    abstention: str | None = None
    composition_guard: str | None = None
    neighbors: tuple[Neighbor, ...] = ()
    findings: tuple[FindingStatement, ...] = ()
    outcomes: tuple[OutcomeStatement, ...] = ()
    states_at_film: tuple[str, ...] = ()
    inputs_used: tuple[str, ...] = ()
    inputs_missing: tuple[str, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    already_in_library: bool = False
    withdrawn: Withdrawal | None = None
    compared_part: str | None = None

    @property
    def n_neighbors(self) -> int:
        """Return how many distinct past patients were matched."""
        return len(self.neighbors)

    def __repr__(self) -> str:
        return f"CaseReport({self.report_id}, {self.state.value}, <redacted>)"
