"""When an answer no longer holds: its study moved, vanished or was rejected, its patient merged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cds.domain.pixels import PictureIdentity


class WithdrawalReason(StrEnum):
    """Why an answer was taken back, or replaced."""

    MOVED = "moved"
    MISMATCHED = "mismatched"
    VANISHED = "vanished"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    MERGED = "merged"
    SUPERSEDED = "superseded"


_CLAUSES = {
    WithdrawalReason.MOVED: "the study was moved to another patient",
    WithdrawalReason.MISMATCHED: "archive and chart no longer agree whose study it is",
    WithdrawalReason.VANISHED: "the study is no longer in the archive",
    WithdrawalReason.REJECTED: "the pictures were rejected in the archive",
    WithdrawalReason.CANCELLED: "the record marks the study as cancelled or entered in error",
    WithdrawalReason.MERGED: "the patient's record was merged into another",
    WithdrawalReason.SUPERSEDED: "pictures arrived later and a newer comparison took its place",
}


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """That an answer was taken back, why and when it was noticed."""

    reason: WithdrawalReason
    noticed_at: datetime

    @property
    def is_error(self) -> bool:
        """Tell whether the answer was about the wrong thing, rather than replaced by a newer."""
        return self.reason is not WithdrawalReason.SUPERSEDED

    def sentence(self, noticed_text: str) -> str:
        """Return what every door says instead of the answer.

        Parameters
        ----------
        noticed_text
            `noticed_at` as the reader writes dates and times.

        Examples
        --------
        >>> from datetime import UTC
        >>> Withdrawal(WithdrawalReason.MOVED, datetime(2026, 11, 12, tzinfo=UTC)).sentence(
        ...     "12 Nov"
        ... )
        'Withdrawn: the study was moved to another patient (noticed 12 Nov). Do not use it.'

        """
        word = "Withdrawn" if self.is_error else "Superseded"
        return f"{word}: {_CLAUSES[self.reason]} (noticed {noticed_text}). Do not use it."


@dataclass(frozen=True, slots=True)
class ResultBinding:
    """To what an answer is bound beside its inputs.

    Attributes
    ----------
    record_hash
        `cds.domain.answer.input_hash` without pictures.
    identity
        Whose study the PACS said it was.
    fingerprint
        Of the `StudyInventory` then; None if none was taken.
    is_precomputed
        Nobody asked for it.

    """

    record_hash: str
    identity: PictureIdentity | None = None
    fingerprint: str | None = None
    is_precomputed: bool = False
