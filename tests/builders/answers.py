"""Values of one answer, valid by default; a test overrides what it is about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from cds.domain.coding import Coding
from cds.domain.facts import HistoryFlag
from cds.domain.patient import BusinessIdentifier, ClinicalContext, Demographics
from cds.domain.registration import CdsClient, EhrRegistration, ReportMode, Stage
from cds.domain.report import (
    AnswerState,
    CaseReport,
    Direction,
    FindingStatement,
    Interval,
    Neighbor,
    Priority,
    ReportVersions,
)
from cds.domain.study import StudyRef
from tests.fakes.cds_client import ISSUER, JKU

# A frozen instant that is not UTC: 07:05 in a zone five and a half hours ahead.
NOW = datetime(2026, 11, 12, 7, 5, tzinfo=timezone(timedelta(hours=5, minutes=30)))
EHR_ID = "st-brevis"
PATIENT_ID = "p4"
REPORT_ID = "6f1c1c5e-1f0b-4c57-9b0e-0d6c6a9f8f11"


def a_registration(**over: Any) -> EhrRegistration:
    registration = EhrRegistration(
        ehr_id=EHR_ID,
        name="St. Brevis (synthetic)",
        fhir_base_url="https://ehr.example.invalid/r4",
        client_id="precedent",
        cds_clients=(CdsClient(issuer=ISSUER, jku=JKU),),
        stage=Stage.RESEARCH,
        protocol_number="P-1",
        report_mode=ReportMode.PRELIMINARY,
        ready_card=True,
        time_zone="Asia/Kolkata",
        frame_ancestors=("https://chart.example.invalid",),
    )
    return replace(registration, **over)


def a_study(**over: Any) -> StudyRef:
    study = StudyRef(
        study_instance_uid="2.25.1",
        accession_number="ACC-1",
        imaging_study_id="is-1",
        modality="DX",
        body_part="CHEST",
        started_at=NOW.astimezone(UTC) - timedelta(minutes=24),
    )
    return replace(study, **over)


def a_context(**over: Any) -> ClinicalContext:
    context = ClinicalContext(
        demographics=Demographics(
            patient_id=PATIENT_ID,
            identifiers=(BusinessIdentifier("SECRET-MRN-7781", "urn:mrn"),),
            display_name="Secretname Testperson",
        ),
        read_at=NOW.astimezone(UTC),
        studies=(a_study(),),
        history=(HistoryFlag(Coding("Diabetes", "73211009")),),
    )
    return replace(context, **over)


def a_neighbor(rank: int) -> Neighbor:
    return Neighbor(
        rank=rank,
        case_id=f"case-{rank}",
        picture_id=f"picture-{rank}",
        similarity=0.9,
        image_similarity=0.9,
        record_similarity=None,
        collection="A",
        view="PA",
        age_band="60-69",
        sex="male",
        film_year=2023,
        findings=(),
    )


def a_finding_statement(**over: Any) -> FindingStatement:
    statement = FindingStatement(
        coding=Coding("Heart failure", "84114007"),
        is_diagnosis=True,
        n_with=12,
        n=31,
        interval=Interval(0.237, 0.562),
        n_eligible_with=45,
        n_eligible=204,
        eligible_kind="",
        direction=Direction.MORE,
        sentence="Of the 31 past patients most like this one, 12 had heart failure recorded.",
    )
    return replace(statement, **over)


def a_case_report(**over: Any) -> CaseReport:
    report = CaseReport(
        report_id=REPORT_ID,
        ehr_id=EHR_ID,
        patient_id=PATIENT_ID,
        study=a_study(),
        created_at=NOW.astimezone(UTC),
        data_at=NOW.astimezone(UTC),
        state=AnswerState.COMPARED,
        stage="research",
        library_name="the test library",
        versions=ReportVersions("precedent 0", "encoder", "0" * 64, "generation-1", "1"),
        input_hash="a" * 64,
        priority=Priority.NONE,
        priority_sentence="No priority suggested. This does not mean the film is normal.",
        image_weight=0.6,
        record_weight=0.4,
        n_library_patients=612,
        n_eligible=204,
        best_similarity=0.93,
        similarity_limit=0.58,
        neighbors=tuple(a_neighbor(rank) for rank in range(1, 32)),
        findings=(a_finding_statement(),),
        inputs_missing=("lactate (none within 6 h of the film)",),
    )
    return replace(report, **over)
