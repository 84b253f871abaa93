"""One page of a search: every answer on it was looked at before it is served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cds.domain.report import CaseReport
from cds.ports import Deadline
from cds.web.fhir_search import MAX_COUNT, ReportSearch

MAX_LOOKS = MAX_COUNT  # of one search, also where a filter drops what was withdrawn meanwhile


@dataclass(frozen=True, slots=True, repr=False)
class ReportPage:
    """What a search answers.

    Attributes
    ----------
    entries
        Answers with their resources, newest first; each was looked at.
    n_matching
        Over all pages; those on other pages count as they are kept.
    looked_at
        Ids of the answers that were looked at, on the page or dropped from it.

    """

    entries: tuple[tuple[CaseReport, dict[str, Any]], ...]
    n_matching: int
    looked_at: frozenset[str]


def checked_page(
    search: ReportSearch,
    reports: Sequence[CaseReport],
    *,
    look: Callable[[CaseReport], CaseReport],
    render: Callable[[CaseReport], dict[str, Any]],
    deadline: Deadline,
) -> ReportPage:
    """Return a page of answers that stand now; it is shorter where the time does not suffice.

    An answer that a look has withdrawn is filtered anew, so that it may leave the page and another
    take its place.

    Parameters
    ----------
    reports
        Of one patient, newest first.
    look
        Returns an answer as it stands after a look at the archive.
    render
        Returns its resource.
    deadline
        No look begins after it, but one always does: a client that follows the links arrives.

    Raises
    ------
    CdsError
        What `look` raises.

    """
    resources = [(report, render(report)) for report in reports]
    looked: set[int] = set()
    while True:
        matching = [i for i, (_, resource) in enumerate(resources) if search.matches(resource)]
        page = matching[search.offset : search.offset + search.count]
        due = next((i for i in page if i not in looked), None)
        is_over = len(looked) >= MAX_LOOKS or (bool(looked) and deadline.remaining_s() <= 0)
        if due is None or is_over:
            break
        report = look(resources[due][0])
        resources[due] = (report, render(report))
        looked.add(due)
    shown = page if due is None else page[: page.index(due)]
    return ReportPage(
        entries=tuple(resources[i] for i in shown),
        n_matching=len(matching),
        looked_at=frozenset(resources[i][0].report_id for i in looked),
    )
