"""Sentences of an answer as they may leave the app: counts of 1 to 4 patients are masked.

Inside the app the same sentences carry the numbers (SAFETY R-HIP-4, R-HIP-7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.domain import wording

if TYPE_CHECKING:
    from cds.domain.report import CaseReport, FindingStatement
    from cds.domain.withdrawal import Withdrawal


def is_few(n: int) -> bool:
    """Tell whether a count must not be exported as a number."""
    return 0 < n < wording.FEW


def finding_sentence(statement: FindingStatement) -> str:
    """Return the statement's own sentence, or one with its small counts masked.

    A masked count takes its percentage and interval with it: they would give it away.
    """
    if not is_few(statement.n_with) and not is_few(statement.n_eligible_with):
        return statement.sentence
    kind = f" {statement.eligible_kind}" if statement.eligible_kind else ""
    where = "recorded" if statement.is_diagnosis else "on their film"
    display = wording.lower_first(statement.coding.display)
    return (
        f"Of the {statement.n} past patients most like this one, {_with_text(statement)} had "
        f"{display} {where}. Among all {statement.n_eligible} eligible past patients{kind} "
        f"{_base_text(statement)}. {wording.after_finding(display)}"
    )


def report_sentences(report: CaseReport) -> tuple[str, ...]:
    """Return everything that an exported report says, in order.

    Parameters
    ----------
    report
        The answer.

    Returns
    -------
    tuple of str
        Header, what was compared or why not, findings, guard, inputs missing, priority; of a
        withdrawn answer only that it was withdrawn.

    """
    if report.withdrawn is not None:
        return (withdrawn_sentence(report.withdrawn),)
    sentences = [wording.header(report.library_name)]
    if report.compared_part:
        sentences.append(report.compared_part)
    if report.abstention:
        sentences.append(report.abstention)
    if report.neighbors and not report.findings:
        sentences.append(_too_few_sentence(report.n_neighbors))
    if report.composition_guard:
        sentences.append(report.composition_guard)
    sentences.extend(finding_sentence(statement) for statement in report.findings)
    sentences.extend(wording.missing_sentences(report.inputs_missing))
    sentences.append(report.priority_sentence)
    return tuple(sentence for sentence in sentences if sentence)


def withdrawn_sentence(withdrawal: Withdrawal) -> str:
    """Return that an answer was taken back, with the day (UTC) on which that was noticed."""
    return withdrawal.sentence(f"{withdrawal.noticed_at:%Y-%m-%d}")


def _too_few_sentence(n: int) -> str:
    if n >= wording.MIN_PATIENTS:
        return f"{n} past patients were compared; no finding is stated."
    return f"{wording.count_text(n, is_exported=True)} patients: too few to count.".capitalize()


def _with_text(statement: FindingStatement) -> str:
    if is_few(statement.n_with):
        return wording.count_text(statement.n_with, is_exported=True)
    share = wording.percent(statement.n_with / statement.n)
    return f"{statement.n_with} ({share}, {wording.interval_text(statement.interval)})"


def _base_text(statement: FindingStatement) -> str:
    if is_few(statement.n_eligible_with):
        count = wording.count_text(statement.n_eligible_with, is_exported=True)
        return f"it was recorded in {count}"
    return f"it was {wording.percent(statement.n_eligible_with / statement.n_eligible)}"
