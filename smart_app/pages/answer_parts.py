"""The answer itself, as every page shows it: notices, findings, matches, versions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from cds.domain import wording
from cds.domain.report import AnswerState, CaseReport, FindingStatement, Neighbor
from smart_app.pages.match_card import MatchCard, match_card

N_OPEN_FINDINGS = 4  # with the matches still in view below them
N_OPEN_CARDS = 6  # the rest is one click away
HEADLINES = {
    AnswerState.COMPARED: "Before you read on",
    AnswerState.NOTHING_COMPARABLE: "Nothing comparable",
    AnswerState.NOT_ASSESSED: "Not assessed",
}
ALREADY_IN_LIBRARY = (
    "This picture, or one almost identical to it, is in the library already; "
    "it was left out of the comparison."
)


@dataclass(frozen=True, slots=True, repr=False)
class AnswerParts:
    """What the templates print of a report."""

    report: CaseReport
    cards: tuple[MatchCard, ...]
    more_cards: tuple[MatchCard, ...]
    headline: str
    notices: tuple[str, ...]
    findings: tuple[FindingStatement, ...]
    more_findings: tuple[FindingStatement, ...]
    too_few: str | None
    computed_at: str
    not_used: tuple[str, ...]

    def __repr__(self) -> str:
        return "AnswerParts(<redacted>)"


def answer_parts(report: CaseReport, zone: ZoneInfo) -> AnswerParts:
    """Return what a page shows of a report; times are in the EHR's zone."""
    cards, more_cards = _cards(report)
    return AnswerParts(
        report=report,
        cards=cards,
        more_cards=more_cards,
        headline=HEADLINES[report.state],
        notices=_notices(report),
        findings=report.findings[:N_OPEN_FINDINGS],
        more_findings=report.findings[N_OPEN_FINDINGS:],
        too_few=_too_few(report),
        computed_at=time_text(report.created_at, zone),
        not_used=wording.missing_sentences(report.inputs_missing),
    )


def time_text(moment: datetime, zone: ZoneInfo) -> str:
    """Return date and time in the EHR's zone, the zone named.

    Examples
    --------
    >>> from datetime import UTC
    >>> time_text(datetime(2026, 11, 12, 5, 41, tzinfo=UTC), ZoneInfo("Europe/Berlin"))
    '12 Nov 2026 06:41 CET'

    """
    return f"{moment.astimezone(zone):%-d %b %Y %H:%M %Z}"


def picture_keys(report: CaseReport) -> frozenset[tuple[str, str]]:
    """Return which library pictures a page of this report shows."""
    return frozenset(
        (neighbor.case_id, neighbor.picture_id)
        for neighbor in report.neighbors
        if neighbor.picture_id is not None
    )


def _cards(report: CaseReport) -> tuple[tuple[MatchCard, ...], tuple[MatchCard, ...]]:
    """Return the open cards, the counter-example always among them, and the folded rest."""
    neighbors = report.neighbors
    open_ones = list(neighbors[:N_OPEN_CARDS])
    if not any(n.is_counter_example for n in open_ones):
        open_ones += [n for n in neighbors[N_OPEN_CARDS:] if n.is_counter_example]
    kept = {n.rank for n in open_ones}
    rest: list[Neighbor] = [n for n in neighbors if n.rank not in kept]
    return tuple(map(match_card, open_ones)), tuple(map(match_card, rest))


def _notices(report: CaseReport) -> tuple[str, ...]:
    found = [report.abstention, report.compared_part, report.composition_guard]
    if report.already_in_library:
        found.append(ALREADY_IN_LIBRARY)
    return tuple(text for text in found if text)


def _too_few(report: CaseReport) -> str | None:
    if not report.neighbors or report.n_neighbors >= wording.MIN_PATIENTS:
        return None
    return wording.too_few_sentence(report.n_neighbors)
