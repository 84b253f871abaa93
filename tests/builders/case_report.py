"""A finished answer about a synthetic patient: valid by default, one override per test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cds.domain import wording
from cds.domain.coding import Coding
from cds.domain.dates import PartialDate
from cds.domain.facts import Finding, Measurement, SetAside, SharedFact
from cds.domain.launch import LaunchAnalysis
from cds.domain.patient import BusinessIdentifier, ClinicalContext, Demographics
from cds.domain.report import (
    AnswerState,
    CaseReport,
    Direction,
    FindingStatement,
    Interval,
    Neighbor,
    OutcomeStatement,
    Priority,
    ReportVersions,
)
from cds.domain.statistics import direction_against, wilson_interval
from cds.domain.study import StudyRef

REPORT_ID = "6f1c1c5e-1f0b-5c57-9b0e-0d6c6a9f8f11"
READ_AT = datetime(2026, 11, 12, 6, 5, tzinfo=UTC)

HEART_FAILURE = Coding("Heart failure", "84114007")
PNEUMONIA = Coding("Pneumonia", "233604007")
EFFUSION = Coding("Pleural effusion", "60046008")
OEDEMA = Coding("Pulmonary oedema", "19242006")

_CASES = (
    (HEART_FAILURE, "clinical", (OEDEMA, EFFUSION), "70-79", "female", "AP", 2023),
    (HEART_FAILURE, "clinical", (OEDEMA,), "80-89", "male", "AP", 2022),
    (PNEUMONIA, "culture", (Coding("Consolidation", "95436008"),), "60-69", "male", "AP", 2024),
    (HEART_FAILURE, "report", (EFFUSION,), "70-79", "male", "AP", 2021),
    (HEART_FAILURE, "clinical", (OEDEMA, EFFUSION), "90 or older", "female", "AP", 2024),
    (
        Coding("Acute respiratory distress syndrome", "67782005"),
        "clinical",
        (),
        "50-59",
        "female",
        "AP",
        None,
    ),
)
_LABS = (  # name, unit, this patient's value, step between cases
    ("C-reactive protein", "mg/L", 38.0, 4.0),
    ("Leukocytes", "10*3/uL", 9.6, 0.6),
    ("Oxygen saturation", "%", 89.0, 1.0),
    ("Creatinine", "mg/dL", 1.4, 0.1),
    ("NT-proBNP", "pg/mL", 6120.0, 410.0),
    ("Temperature", "Cel", 36.9, 0.2),
    ("Haemoglobin", "g/dL", 11.2, 0.4),
)


def a_study(**overrides: Any) -> StudyRef:
    """One portable chest film."""
    values: dict[str, Any] = {
        "study_instance_uid": "1.2.826.0.1.3680043.10.1.4",
        "accession_number": "SYN-2026-0004",
        "imaging_study_id": "s4",
        "modality": "DX",
        "body_part": "CHEST",
        "started_at": datetime(2026, 11, 12, 5, 41, tzinfo=UTC),
    }
    return StudyRef(**{**values, **overrides})


def a_context(**overrides: Any) -> ClinicalContext:
    """One synthetic patient with one film."""
    values: dict[str, Any] = {
        "demographics": Demographics(
            "p4",
            identifiers=(
                BusinessIdentifier("OLD-1", "urn:oid:1.2.3.9"),
                BusinessIdentifier("SYN-004-771", "https://hospital.example.invalid/mrn", "MR"),
            ),
            birth_on=PartialDate(1951, 3, 14),
            sex="female",
            display_name="Weber, Ingrid",
        ),
        "read_at": READ_AT,
        "studies": (a_study(),),
        "measurements": (Measurement("59408-5", 89.0, "%", READ_AT),),
    }
    return ClinicalContext(**{**values, **overrides})


def a_neighbor(rank: int = 1, **overrides: Any) -> Neighbor:
    """One matched case."""
    diagnosis, proof, signs, age_band, sex, view, year = _CASES[(rank - 1) % len(_CASES)]
    values: dict[str, Any] = {
        "rank": rank,
        "case_id": f"case{rank:04d}",
        "picture_id": f"picture{rank:04d}",
        "similarity": 0.94 - 0.006 * rank,
        "image_similarity": 0.95 - 0.007 * rank,
        "record_similarity": 0.9 - 0.011 * rank,
        "collection": "Synthetic hospital A",
        "view": view,
        "age_band": age_band,
        "sex": sex,
        "film_year": year,
        "findings": (
            Finding(diagnosis, proof=proof, is_diagnosis=True),
            *(Finding(sign) for sign in signs),
        ),
        "shared": tuple(
            SharedFact(name, unit, value, round(value + step * ((rank + i) % 7 - 3), 2), 0.1)
            for i, (name, unit, value, step) in enumerate(_LABS)
        ),
        "outcomes": ("Alive 30 days after the film", "Length of stay 7 d") if rank % 2 else (),
    }
    return Neighbor(**{**values, **overrides})


def a_finding(coding: Coding, n_with: int, n: int, eligible: tuple[int, int]) -> FindingStatement:
    """One statement with the product's own sentence."""
    interval = wilson_interval(n_with, n)
    is_diagnosis = coding in {HEART_FAILURE, PNEUMONIA}
    return FindingStatement(
        coding=coding,
        is_diagnosis=is_diagnosis,
        n_with=n_with,
        n=n,
        interval=interval,
        n_eligible_with=eligible[0],
        n_eligible=eligible[1],
        eligible_kind="with an AP chest film",
        direction=direction_against(interval, eligible[0] / eligible[1]),
        sentence=wording.finding_sentence(
            wording.lower_first(coding.display),
            counts=(n_with, n),
            interval=interval,
            eligible=eligible,
            eligible_kind="with an AP chest film",
            is_diagnosis=is_diagnosis,
        ),
    )


def a_case_report(**overrides: Any) -> CaseReport:
    """A comparison with 31 past patients."""
    neighbors = tuple(a_neighbor(rank, is_counter_example=rank == 3) for rank in range(1, 32))
    outcome = wording.outcome_sentence(
        "died within 30 days",
        n=31,
        n_known=19,
        n_with=3,
        interval=wilson_interval(3, 19),
        years=(2019, 2024),
    )
    values: dict[str, Any] = {
        "report_id": REPORT_ID,
        "ehr_id": "sandbox",
        "patient_id": "p4",
        "study": a_study(),
        "created_at": datetime(2026, 11, 12, 6, 6, tzinfo=UTC),
        "data_at": READ_AT,
        "state": AnswerState.COMPARED,
        "stage": "sandbox",
        "library_name": "the synthetic library",
        "versions": ReportVersions(
            "0.1.0", "chest-mobilenet-1", "9f31c0" * 10 + "abcd", "g-000003", "1"
        ),
        "input_hash": "0" * 64,
        "priority": Priority.PROMPT,
        "priority_sentence": (
            "Suggested review priority: Prompt. Rule PHYS-1 v1: "
            "Oxygen saturation 89 % at 05:30 UTC."
        ),
        "image_weight": 0.6,
        "record_weight": 0.4,
        "n_library_patients": 620,
        "n_eligible": 204,
        "best_similarity": 0.94,
        "similarity_limit": 0.58,
        "neighbors": neighbors,
        "findings": (
            a_finding(HEART_FAILURE, 18, 31, (45, 204)),
            a_finding(OEDEMA, 14, 31, (80, 204)),
            a_finding(PNEUMONIA, 2, 31, (60, 204)),
        ),
        "outcomes": (OutcomeStatement("death", 30, 31, 19, 3, wilson_interval(3, 19), outcome),),
        "states_at_film": ("State at the film: 22 of 31 were already in intensive care.",),
        "inputs_used": ("picture (AP)", "age 75", "sex female", "C-reactive protein 38 mg/L"),
        "inputs_missing": ("Lactate (none within 6 h of the film)", "Procalcitonin (none)"),
        "set_aside": (SetAside("Total protein", "68 g/dL", "not plausible; unit?"),),
    }
    return CaseReport(**{**values, **overrides})


def a_launch_analysis(report: CaseReport | None = None, **overrides: Any) -> LaunchAnalysis:
    """What the engine answers to a launch about the one film."""
    context = overrides.pop("context", a_context())
    values: dict[str, Any] = {
        "context": context,
        "studies": context.studies,
        "study": context.studies[0] if context.studies else None,
        "report": report or a_case_report(),
    }
    return LaunchAnalysis(**{**values, **overrides})


__all__ = [
    "Direction",
    "Interval",
    "a_case_report",
    "a_context",
    "a_finding",
    "a_launch_analysis",
    "a_neighbor",
    "a_study",
]
