from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cds.domain.errors import CdsError, Reason
from cds.domain.report import CaseReport
from cds.domain.time_limit import TimeLimit
from cds.domain.withdrawal import Withdrawal, WithdrawalReason
from cds.web.fhir_search import ReportSearch
from cds.web.report_page import MAX_LOOKS, checked_page
from tests.builders.case_report import READ_AT, a_case_report

N = 7


def answers(n: int = N) -> list[CaseReport]:
    return [
        a_case_report(report_id=str(i), created_at=READ_AT - timedelta(days=i)) for i in range(n)
    ]


def rendered(report: CaseReport) -> dict[str, Any]:
    status = "preliminary" if report.withdrawn is None else "entered-in-error"
    return {"id": report.report_id, "status": status}


class Looks:
    """Looks that each take a second; the studies named in `moved` were moved."""

    def __init__(self, *moved: int) -> None:
        self.moved = set(map(str, moved))
        self.asked: list[str] = []

    def __call__(self, report: CaseReport) -> CaseReport:
        self.asked.append(report.report_id)
        if report.report_id in self.moved:
            return replace(report, withdrawn=Withdrawal(WithdrawalReason.MOVED, READ_AT))
        return report

    def limit(self, limit_s: float) -> TimeLimit:
        return TimeLimit(limit_s, clock=lambda: float(len(self.asked)))


def page_of(looks: Looks, search: ReportSearch, n: int = N, limit_s: float = 1000.0) -> list[str]:
    page = checked_page(
        search, answers(n), look=looks, render=rendered, deadline=looks.limit(limit_s)
    )
    assert page.looked_at == set(looks.asked)
    assert {report.report_id for report, _ in page.entries} <= page.looked_at
    return [resource["id"] for _, resource in page.entries]


def test_page_when_served_holds_only_what_was_looked_at() -> None:
    looks = Looks()
    assert page_of(looks, ReportSearch("p", offset=2, count=3)) == ["2", "3", "4"]
    assert looks.asked == ["2", "3", "4"]


def test_page_when_only_counted_looks_at_nothing() -> None:
    looks = Looks()
    assert page_of(looks, ReportSearch("p", count=0)) == []
    assert looks.asked == []


def test_page_when_a_filter_asks_for_errors_has_what_was_looked_at_only() -> None:
    wanted = ReportSearch("p", filters=(("status", ("entered-in-error",)),))
    assert page_of(Looks(2), wanted) == []  # kept as standing: found by the nightly sweep or a read


def test_page_when_time_is_over_ends_before_the_first_that_was_not_looked_at() -> None:
    assert page_of(Looks(), ReportSearch("p"), limit_s=3.0) == ["0", "1", "2"]


def test_page_when_there_is_no_time_at_all_still_holds_one() -> None:
    assert page_of(Looks(), ReportSearch("p"), limit_s=0.0) == ["0"]


def test_search_when_everything_was_moved_looks_a_bounded_number_of_times() -> None:
    n = MAX_LOOKS + 20
    looks = Looks(*range(n))
    assert page_of(looks, ReportSearch("p", filters=(("status", ("preliminary",)),)), n) == []
    assert len(looks.asked) == MAX_LOOKS


def test_page_when_a_look_fails_is_not_served() -> None:
    def down(_report: CaseReport) -> CaseReport:
        raise CdsError(Reason.UPSTREAM_FAILED, "The archive is down.")

    with pytest.raises(CdsError, match="archive is down"):
        checked_page(
            ReportSearch("p"), answers(), look=down, render=rendered, deadline=TimeLimit(9)
        )
