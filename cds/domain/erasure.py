"""Erasing a patient from the library: why, what is to go, and the proof that it is gone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class ErasureReason(StrEnum):
    """Why a patient leaves the library."""

    OPT_OUT = "opt-out"
    ERASURE = "erasure"
    OBJECTION = "objection"
    REPLAY = "replay"


class ErasureStep(StrEnum):
    """How far an erasure has come, in order; each name says what is behind it."""

    BEGUN = "begun"
    ROWS_REMOVED = "rows removed"
    PICTURES_REMOVED = "pictures removed"
    INDEX_REBUILT = "index rebuilt"
    ANSWERS_REDACTED = "answers redacted"
    DONE = "done"

    def is_behind(self, other: ErasureStep) -> bool:
        """Tell whether this step comes before another one."""
        order = list(ErasureStep)
        return order.index(self) < order.index(other)


class TombstoneKind(StrEnum):
    """What a keyed hash stands for."""

    PATIENT = "patient"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """That something was erased and must not come back; `key` is a keyed hash.

    Attributes
    ----------
    key
        HMAC-SHA-256 (hex) under the installation's key.
    erased_at
        Aware UTC.

    """

    kind: TombstoneKind
    key: str
    erased_at: datetime


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """Who is to be erased, on whose word and why.

    Attributes
    ----------
    patient_key
        Keyed hash, as the library's cases carry it.
    patient_value
        The number itself, to find quarantined files that are named after it; None in a replay.
    approver
        Name of the person who approved it.

    """

    patient_key: str
    reason: ErasureReason
    approver: str = ""
    patient_value: str | None = None

    def __repr__(self) -> str:
        return f"ErasureRequest({self.reason.value}, <redacted>)"


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What searches with the patient's own pictures found, nothing excluded.

    Attributes
    ----------
    n_searches
        One per picture, at most a stated number.
    n_at_rank_1
        Searches whose best match was the patient.
    n_found
        Searches with the patient anywhere among the matches.

    """

    n_searches: int = 0
    n_at_rank_1: int = 0
    n_found: int = 0


@dataclass(frozen=True, slots=True)
class RemovedFile:
    """A file that is gone: its name in the state folder, SHA-256 (hex) of its encrypted bytes."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, repr=False)
class ErasurePlan:
    """What one erasure has to remove and has found out; kept encrypted and wiped at the end.

    Attributes
    ----------
    case_ids, picture_ids, blob_keys
        Of the patient's cases.
    probes
        Picture vectors for the searches before and after; as many as are searched.
    owners
        EHR that owns each probe's case, empty for none.
    removed
        Row kind -> how many rows went.

    """

    case_ids: tuple[str, ...] = ()
    picture_ids: tuple[str, ...] = ()
    blob_keys: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    probes: tuple[tuple[float, ...], ...] = ()
    owners: tuple[str, ...] = ()
    before: SearchOutcome = SearchOutcome()
    generations_before: tuple[str, ...] = ()
    removed: dict[str, int] = field(default_factory=dict)
    files: tuple[RemovedFile, ...] = ()
    generation_after: str | None = None
    n_answers_redacted: int = 0

    def __repr__(self) -> str:
        return f"ErasurePlan({len(self.case_ids)} cases, <redacted>)"


@dataclass(frozen=True, slots=True)
class RunningErasure:
    """An erasure that was begun, as the database knows it; `erasure_id` numbers its receipt."""

    erasure_id: str
    step: ErasureStep
    plan: ErasurePlan
    begun_at: datetime


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """The proof, for the person who asked; it holds nothing of the patient.

    Attributes
    ----------
    erasure_id
        Number of the receipt.
    n_cases, n_pictures
        That were in the library.
    before, after
        Searches with the patient's own pictures, nothing excluded.
    removed_rows
        Row kind -> rows.
    removed_files
        Encrypted pictures and index files.
    generations_removed, generation_now
        Index generations that held the patient, and the present one.
    n_readers_of_old_index
        Processes of this machine that still had an old generation mapped; None where unknown.
    n_traces_left
        Files of the state folder and rows of the database that still hold an id of the erased
        cases; the audit trail, which keeps who looked at them, is not counted.
    trained_models
        What is known about models trained with the patient's pictures.
    remarks
        What a person still has to do.

    """

    erasure_id: str
    reason: str
    approver: str
    begun_at: datetime
    finished_at: datetime
    n_cases: int
    n_pictures: int
    before: SearchOutcome
    after: SearchOutcome
    removed_rows: dict[str, int]
    removed_files: tuple[RemovedFile, ...]
    generations_removed: tuple[str, ...]
    generation_now: str | None
    n_answers_redacted: int
    n_readers_of_old_index: int | None
    n_traces_left: int
    trained_models: str
    remarks: tuple[str, ...] = ()

    @property
    def is_proved(self) -> bool:
        """Tell whether nothing was found any more."""
        return self.after.n_found == 0 and self.n_traces_left == 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **asdict(self),
            "begun_at": self.begun_at.isoformat(timespec="seconds"),
            "finished_at": self.finished_at.isoformat(timespec="seconds"),
            "is_proved": self.is_proved,
        }
