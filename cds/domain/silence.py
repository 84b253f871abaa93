"""When a hook shows a card and when it stays silent: a table as data, a decision as a function."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

from cds.domain.facts import HistoryFlag
from cds.domain.report import CaseReport, Direction
from cds.domain.study import ReportState, StudyRef

PATIENT_SIDE = frozenset({"Patient", "RelatedPerson"})
CLINICIAN_TYPES = frozenset({"Practitioner", "PractitionerRole"})
REPEATED_ROW = 6
SILENT_ROW = 14


class CardKind(StrEnum):
    """Which sentence a card says."""

    READY = "ready"
    PENDING = "pending"
    NOT_ASSESSED = "not-assessed"
    IDENTITY = "identity"
    OUTAGE = "outage"
    PROMPT = "prompt"
    CATEGORY_1 = "category-1"


class Assessment(StrEnum):
    """How far the comparison of the study came."""

    READY = "ready"
    PENDING = "pending"
    NOT_ASSESSED = "not-assessed"
    IDENTITY_MISMATCH = "identity-mismatch"
    UPSTREAM_DOWN = "upstream-down"


class ImageRule(StrEnum):
    """An image-finding rule that fired; none fires without a threshold signed by the site."""

    CATEGORY_1 = "category-1"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True)
class SilenceOptions:
    """What a site chose.

    Attributes
    ----------
    ready_card, pending_card
        Information cards of rows 7 and 10; both off by default.
    enrolled_user_types
        Resource types of `context.userId` whose roles are enrolled; a hook carries no other role.
    lookback
        How old a study may be (row 3).

    """

    ready_card: bool = False
    pending_card: bool = False
    enrolled_user_types: frozenset[str] = CLINICIAN_TYPES
    lookback: timedelta = timedelta(hours=72)


@dataclass(frozen=True, slots=True)
class SilenceState:
    """What is known when the decision is taken.

    Attributes
    ----------
    has_recent_study
        Whether a supported study lies within the site's window.
    is_fresh
        Whether the study arrived within `fresh_minutes`.
    is_shown_before
        Whether this user saw this card about this study (or this outage) at this or a higher
        priority.
    is_silent
        Stage ``silent``.

    """

    user_type: str
    has_recent_study: bool = True
    report_state: ReportState = ReportState.NONE
    assessment: Assessment = Assessment.READY
    image_rule: ImageRule | None = None
    is_fresh: bool = False
    is_on_problem_list: bool = False
    is_shown_before: bool = False
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """One row of the table; see the head of ``silence.toml`` for its members."""

    number: int
    says: str
    state: str | None = None
    kind: CardKind | None = None
    indicator: str | None = None
    option: str | None = None
    requires: str | None = None
    threshold: str | None = None
    once: str | None = None
    guard: str | None = None


@dataclass(frozen=True, slots=True)
class SilenceDecision:
    """The row that decided, and the card to show, if any.

    Attributes
    ----------
    guarded_row
        The row whose card a guard (row 6 or 14) held back.

    """

    row: int
    kind: CardKind | None = None
    guarded_row: int | None = None


@cache
def silence_table() -> tuple[SilenceRow, ...]:
    """Return the rows in the order in which they are tried."""
    return tuple(
        SilenceRow(**{**row, "kind": CardKind(row["kind"]) if "kind" in row else None})
        for row in _table()["row"]
    )


def fresh_limit() -> timedelta:
    """Return how long after its start a study counts as just arrived."""
    return timedelta(minutes=_table()["fresh_minutes"])


def silence_row(number: int) -> SilenceRow:
    """Return the row with this number.

    Raises
    ------
    KeyError
        If there is none.

    """
    for row in silence_table():
        if row.number == number:
            return row
    raise KeyError(number)


def decide(state: SilenceState, options: SilenceOptions) -> SilenceDecision:
    """Return what the table says about `state`.

    References
    ----------
    CLINICAL 2.2.

    Examples
    --------
    >>> decide(SilenceState("Patient"), SilenceOptions())
    SilenceDecision(row=1, kind=None, guarded_row=None)
    >>> decide(SilenceState("Practitioner"), SilenceOptions(ready_card=True)).kind.value
    'ready'

    """
    row = next(r for r in silence_table() if _holds(r, state, options))
    if row.kind is None or not _is_allowed(row, state, options):
        return SilenceDecision(row.number)
    if row.once is not None and state.is_shown_before:
        return SilenceDecision(REPEATED_ROW, guarded_row=row.number)
    if state.is_silent:
        return SilenceDecision(SILENT_ROW, guarded_row=row.number)
    return SilenceDecision(row.number, row.kind)


def decide_for_user(user_type: str, options: SilenceOptions) -> SilenceDecision | None:
    """Return the decision where the user alone decides, before any record is read (rows 1, 2)."""
    decision = decide(SilenceState(user_type), options)
    return decision if decision.row in {1, 2} else None


def is_recent(study: StudyRef, *, as_of: datetime, options: SilenceOptions) -> bool:
    """Tell whether the study lies in the site's window; a study without a time does."""
    return study.started_at is None or as_of - study.started_at <= options.lookback


def is_fresh(study: StudyRef, *, as_of: datetime) -> bool:
    """Tell whether the study has just arrived; without a time it has not."""
    return study.started_at is not None and as_of - study.started_at < fresh_limit()


def is_on_problem_list(report: CaseReport, history: tuple[HistoryFlag, ...]) -> bool:
    """Tell whether all that occurs more often among the matches is an active problem already."""
    found = {f.coding.key for f in report.findings if f.direction is Direction.MORE}
    known = {flag.coding.key for flag in history if flag.is_active}
    return bool(found) and found <= known


_HOLDS: Mapping[str, Callable[[SilenceState, SilenceOptions], bool]] = {
    "user-is-patient": lambda s, _: s.user_type in PATIENT_SIDE,
    "user-not-enrolled": lambda s, o: s.user_type not in o.enrolled_user_types,
    "no-recent-study": lambda s, _: not s.has_recent_study,
    "already-reported": lambda s, _: s.report_state is not ReportState.NONE,
    "identity-mismatch": lambda s, _: s.assessment is Assessment.IDENTITY_MISMATCH,
    "upstream-down": lambda s, _: s.assessment is Assessment.UPSTREAM_DOWN,
    "pending": lambda s, _: s.assessment is Assessment.PENDING,
    "not-assessed": lambda s, _: s.assessment is Assessment.NOT_ASSESSED,
    "category-1": lambda s, _: s.image_rule is ImageRule.CATEGORY_1,
    "prompt": lambda s, _: s.image_rule is ImageRule.PROMPT,
    "on-problem-list": lambda s, _: s.is_on_problem_list,
    "ready": lambda _s, _o: True,
}


def _holds(row: SilenceRow, state: SilenceState, options: SilenceOptions) -> bool:
    if row.state is None or row.threshold == "unsigned":
        return False
    return _HOLDS[row.state](state, options)


def _is_allowed(row: SilenceRow, state: SilenceState, options: SilenceOptions) -> bool:
    is_option_on = row.option is None or bool(getattr(options, row.option))
    return is_option_on and (row.requires != "fresh" or state.is_fresh)


@cache
def _table() -> dict[str, Any]:
    text = files("cds.domain").joinpath("silence.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
