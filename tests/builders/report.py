"""An answer with two findings, valid by default; one override per test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cds.domain import wording
from cds.domain.coding import Coding
from cds.domain.report import (
    AnswerState,
    CaseReport,
    FindingStatement,
    Neighbor,
    Priority,
    ReportVersions,
)
from cds.domain.statistics import direction_against, wilson_interval
from cds.domain.study import StudyRef

REPORT_ID = "0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa"
KIND = "with a portable film"


def a_statement(
    display: str = "Heart failure",
    *,
    n_with: int = 12,
    n: int = 31,
    n_eligible_with: int = 45,
    n_eligible: int = 204,
) -> FindingStatement:
    interval = wilson_interval(n_with, n)
    return FindingStatement(
        coding=Coding(display, "84114007"),
        is_diagnosis=True,
        n_with=n_with,
        n=n,
        interval=interval,
        n_eligible_with=n_eligible_with,
        n_eligible=n_eligible,
        eligible_kind=KIND,
        direction=direction_against(interval, n_eligible_with / n_eligible),
        sentence=wording.finding_sentence(
            wording.lower_first(display),
            counts=(n_with, n),
            interval=interval,
            eligible=(n_eligible_with, n_eligible),
            eligible_kind=KIND,
            is_diagnosis=True,
        ),
    )


def a_neighbor(rank: int = 1, **overrides: Any) -> Neighbor:
    values: dict[str, Any] = {
        "rank": rank,
        "case_id": f"case-{rank}",
        "picture_id": f"picture-{rank}",
        "similarity": 0.9,
        "image_similarity": 0.9,
        "record_similarity": None,
        "collection": "collection-x",
        "view": "AP",
        "age_band": "60-69",
        "sex": "male",
        "film_year": 2021,
        "findings": (),
        "outcomes": ("died within 30 days",),
    }
    return Neighbor(**{**values, **overrides})


def a_report(**overrides: Any) -> CaseReport:
    values: dict[str, Any] = {
        "report_id": REPORT_ID,
        "ehr_id": "a",
        "patient_id": "p100",
        "study": StudyRef(
            study_instance_uid="1.2.3",
            imaging_study_id="is1",
            modality="DX",
            body_part="Chest",
            started_at=datetime(2026, 1, 5, 4, 41, tzinfo=UTC),
        ),
        "created_at": datetime(2026, 1, 5, 6, 0, tzinfo=UTC),
        "data_at": datetime(2026, 1, 5, 5, 59, tzinfo=UTC),
        "state": AnswerState.COMPARED,
        "stage": "sandbox",
        "library_name": "Sandbox library",
        "versions": ReportVersions("precedent 0.1.0", "enc", "ab" * 32, "g1", "1"),
        "input_hash": "cd" * 32,
        "priority": Priority.NONE,
        "priority_sentence": wording.NO_PRIORITY,
        "image_weight": 0.6,
        "record_weight": 0.4,
        "n_library_patients": 620,
        "n_eligible": 204,
        "best_similarity": 0.91,
        "similarity_limit": 0.58,
        "neighbors": tuple(a_neighbor(rank) for rank in range(1, 32)),
        "findings": (
            a_statement(),
            a_statement("Pneumothorax", n_with=2, n_eligible_with=3),
        ),
        "inputs_missing": ("lactate (none within 6 h of the film)",),
    }
    return CaseReport(**{**values, **overrides})
