"""Rolling out an encoder: what a site agreed on, what would change, who approved it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from cds.domain.case import LibraryCase
from cds.domain.report import CaseReport

N_APPROVERS = 2  # CLINICAL: two signatures
ANNOUNCED_FOR = timedelta(days=30)  # CLINICAL: banner for 30 days
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class RolloutKind(StrEnum):
    """Which way the serving encoder was changed."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class EncoderRef:
    """An encoder with the index generation that belongs to it."""

    name: str
    encoder_hash: str
    generation_id: str | None


@dataclass(frozen=True, slots=True)
class Rollout:
    """That another encoder was to serve from a moment on.

    It is noted before the switch: it holds only while `after` is the one that serves.

    Attributes
    ----------
    approvers
        Names of the people who approved it.
    report
        What was checked before, as JSON; free of PHI beyond ids. None for a roll-back.

    """

    kind: RolloutKind
    before: EncoderRef
    after: EncoderRef
    approvers: tuple[str, ...]
    at: datetime
    report: str | None = None


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """A site's frozen set of library cases and how well an encoder has to do on them.

    Attributes
    ----------
    cutoff
        The k of P@k.
    case_ids
        Frozen: the same for every encoder.
    smallest_precision
        P@k that the new encoder has to reach.
    largest_drop
        How much lower than the serving encoder's its P@k may be.

    """

    cutoff: int
    case_ids: tuple[str, ...]
    smallest_precision: float
    largest_drop: float

    def __post_init__(self) -> None:
        if self.cutoff < 1 or not self.case_ids:
            raise ValueError("k is positive and there is at least one case")
        if len(set(self.case_ids)) != len(self.case_ids):
            raise ValueError("a case is named once")
        if not (0 <= self.smallest_precision <= 1 and 0 <= self.largest_drop <= 1):
            raise ValueError("limits lie in [0, 1]")


@dataclass(frozen=True, slots=True)
class SiteCheck:
    """How two encoders did on the frozen set; every case counts once.

    Attributes
    ----------
    n_cases
        How many of the named cases both encoders could be asked about.
    missing
        Ids of the others: not in the library, without a diagnosis or finding, or not embedded.

    """

    limits: SiteLimits
    n_cases: int
    missing: tuple[str, ...]
    precision_before: float
    precision_after: float

    def why_refused(self) -> str | None:
        """Return why the new encoder may not be rolled out; None if it keeps the limits."""
        limits = self.limits
        name = f"P@{limits.cutoff}"
        if self.missing:
            return (
                f"{len(self.missing)} of the {len(limits.case_ids)} cases of the frozen set cannot "
                f"be asked about, the first is {self.missing[0]}."
            )
        if self.precision_after < limits.smallest_precision:
            return (
                f"{name} is {self.precision_after:.3f} on the frozen set; agreed are at least "
                f"{limits.smallest_precision:.3f}."
            )
        if self.precision_before - self.precision_after > limits.largest_drop:
            return (
                f"{name} falls from {self.precision_before:.3f} to {self.precision_after:.3f} on "
                f"the frozen set; agreed is a drop of at most {limits.largest_drop:.3f}."
            )
        return None


@dataclass(frozen=True, slots=True)
class Flip:
    """A kept answer that would be another one; `what` names its parts in a fixed order."""

    ehr_id: str
    report_id: str
    what: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FlipList:
    """What would change among the newest kept answers.

    Attributes
    ----------
    n_looked_at, n_compared
        How many newest answers there were, and how many could be computed again with both.
    not_compared
        How many could not, by the `cds.domain.errors.Reason` value.

    """

    n_looked_at: int
    n_compared: int
    not_compared: tuple[tuple[str, int], ...]
    flips: tuple[Flip, ...]


def shares_label(one: LibraryCase, other: LibraryCase) -> bool:
    """Tell whether two cases count as the same kind: same diagnosis, or else a common finding."""
    wanted = one.diagnosis
    if wanted is not None:
        return other.diagnosis is not None and other.diagnosis.coding.key == wanted.coding.key
    findings = {finding.coding.key for finding in one.findings}
    return bool(findings & {finding.coding.key for finding in other.findings})


def flip_between(before: CaseReport, after: CaseReport) -> Flip | None:
    """Return what differs between the answers of two encoders to the same question, or None."""
    pairs = [
        (name, read(before), read(after))
        for name, read in (
            ("top match group", _top_match_group),
            ("top diagnosis", _top_diagnosis),
            ("priority", _priority),
            ("abstention", _abstention),
        )
    ]
    changed = [pair for pair in pairs if pair[1] != pair[2]]
    if not changed:
        return None
    return Flip(
        before.ehr_id,
        before.report_id,
        tuple(name for name, _, _ in changed),
        tuple(old for _, old, _ in changed),
        tuple(new for _, _, new in changed),
    )


def model_change_sentence(before: str, after: str, changed_on: date) -> str:
    """Return the sentence that pages show for 30 days (CLINICAL, stalls: new encoder).

    Examples
    --------
    >>> model_change_sentence("v3", "v4", date(2026, 11, 12))
    'Image model changed 12 Nov (v3 to v4). Rankings may differ; signed reports are unchanged.'

    """
    day = f"{changed_on.day} {_MONTHS[changed_on.month - 1]}"
    return (
        f"Image model changed {day} ({before} to {after}). Rankings may differ; signed reports are "
        "unchanged."
    )


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names without empty ones and without one that is only written otherwise.

    Examples
    --------
    >>> distinct_names(["A. Person", " a.  person ", "", "B. Person"])
    ('A. Person', 'B. Person')

    """
    found: dict[str, str] = {}
    for name in names:
        plain = " ".join(name.split())
        if plain:
            found.setdefault(plain.casefold(), plain)
    return tuple(found.values())


def _top_match_group(report: CaseReport) -> str:
    if not report.neighbors:
        return "none"
    return ", ".join(sorted(f.coding.display for f in report.neighbors[0].findings)) or "unknown"


def _top_diagnosis(report: CaseReport) -> str:
    diagnoses = [s for s in report.findings if s.is_diagnosis]
    if not diagnoses:
        return "none"
    return max(diagnoses, key=lambda s: (s.n_with, s.coding.key)).coding.display


def _priority(report: CaseReport) -> str:
    return report.priority.value


def _abstention(report: CaseReport) -> str:
    return f"{report.state.value}, abstained" if report.abstention else report.state.value
