"""`/app/study` and the pictures on it."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from flask import Response, request, url_for

from cds.domain.errors import CdsError, Reason
from cds.domain.launch import LaunchAnalysis, StudyHint
from cds.domain.registration import ReportMode
from cds.domain.study import StudyRef
from cds.domain.time_limit import TimeLimit
from cds.domain.wording import lower_first
from cds.ports import AuditEvent
from cds.web.report_resources import resource_of
from cds.web.wire import fhir_response
from smart_app.access import (
    clinician_session,
    current_access,
    current_registration,
    current_session,
    keep_session,
    keep_window,
)
from smart_app.engine_port import app_engine
from smart_app.launch.clinician_session import ShownReport, hint_of, study_of
from smart_app.pages.answer_parts import picture_keys, time_text
from smart_app.pages.errors import page_blueprint, page_response
from smart_app.pages.regions import png_response, region_link
from smart_app.pages.study_page import StudyPage, shows_query_picture, study_page
from smart_app.pages.weights import chosen_weights, weight_choices

PAGE_LIMIT_S = 30.0  # a person waits; the hook's budget does not hold here
STUDY_KEY_CHARACTERS = 16
STUDY_PARAMETER = "study"
WEIGHTS_PARAMETER = "weights"

study_pages = page_blueprint("study", __name__)
study_pages.url_defaults(keep_window)


@study_pages.get("/app/study")
@clinician_session
def study() -> Response:
    """Compare the chosen study and show it beside its matches; without one, offer the choice."""
    weights = chosen_weights(request.args.get(WEIGHTS_PARAMETER), app_engine().settings)
    analysis = app_engine().analyse_for_launch(
        current_access(),
        study_hint=_study_hint(),
        weights=weights.weights,
        deadline=TimeLimit(PAGE_LIMIT_S),
    )
    _keep_shown(analysis)
    _audit("study.viewed", analysis.report.report_id if analysis.report else None)
    if analysis.report is not None:
        engine, session = app_engine(), current_session()
        engine.background.lives.note_view(
            session.ehr_id, analysis.report.report_id, viewer=session.who, door="app"
        )
    page = study_page(analysis, current_registration(), study_key=study_key)
    return page_response(
        "study.html",
        page=page,
        session=current_session(),
        weights=weights,
        weight_choices=weight_choices(app_engine().settings),
        case_picture=case_picture_url,
        regions=region_link(page),
        fhir_url=_fhir_url(page),
        withdrawn=_withdrawn(analysis),
    )


@study_pages.get("/app/picture/query/<report_id>")
@clinician_session
def query_picture(report_id: str) -> Response:
    """Return the query's own picture, of a report that this session showed."""
    shown = current_session().shown_report(report_id)
    if shown is None or shown.study is None or not shown.has_query_picture:
        raise _no_picture()
    access, deadline = current_access(), TimeLimit(PAGE_LIMIT_S)
    picture = app_engine().query_picture_png(access, study_of(shown.study), deadline=deadline)
    _audit("picture.viewed", report_id)
    return png_response(picture)


@study_pages.get("/app/picture/case/<case_id>/<picture_id>")
@clinician_session
def case_picture(case_id: str, picture_id: str) -> Response:
    """Return a library picture, of a case that this session's page showed; each view is logged."""
    session = current_session()
    if not session.may_see_picture(case_id, picture_id):
        raise _no_picture()
    picture = app_engine().case_picture_png(
        case_id, picture_id, ehr_id=session.ehr_id, who=session.who
    )
    return png_response(picture)


@study_pages.get("/app/report/<report_id>/fhir")
@clinician_session
def fhir_report(report_id: str) -> Response:
    """Return the DiagnosticReport of an answer that this session's page showed."""
    session, registration = current_session(), current_registration()
    report = None
    if session.shown_report(report_id) and registration.report_mode is not ReportMode.OFF:
        report = app_engine().results.by_id(session.ehr_id, report_id)
        report = report and app_engine().background.looked_at(report)
    resource = report and resource_of(report, registration, "DiagnosticReport", report_id)
    if not resource:
        raise CdsError(Reason.NOT_FOUND, "This window has no such report.")
    _audit("report.read", report_id)
    return fhir_response(resource)


def _withdrawn(analysis: LaunchAnalysis) -> tuple[str, ...]:
    """Return that earlier answers about this study of this patient no longer hold."""
    session, zone = current_session(), ZoneInfo(current_registration().time_zone)
    study = analysis.study
    if study is None:
        return ()
    uid = study.study_instance_uid
    earlier = app_engine().results.by_patient(session.ehr_id, session.patient_id)
    sentences = (
        report.withdrawn.sentence(time_text(report.withdrawn.noticed_at, zone))
        for report in earlier
        if report.withdrawn is not None
        and report.study is not None
        and uid is not None
        and report.study.study_instance_uid == uid
    )
    return tuple(dict.fromkeys(f"Earlier answer: {lower_first(text)}" for text in sentences))


def study_key(study: StudyRef) -> str:
    """Return what stands for a study in an address: a keyed hash, no identifier."""
    named = study.study_instance_uid or f"accession:{study.accession_number}"
    return app_engine().keys.study_key(named)[:STUDY_KEY_CHARACTERS]


def _audit(action: str, report_id: str | None) -> None:
    """Note who was shown what of this patient (SAFETY R-HIP-5, R-EU-1)."""
    engine, session = app_engine(), current_session()
    patient_key = engine.keys.patient_key(session.ehr_id, session.patient_id)
    engine.audit.record(
        AuditEvent(
            session.ehr_id,
            action,
            "success",
            who=session.who,
            patient_key=patient_key,
            entity=report_id,
        )
    )


def _study_hint() -> StudyHint | None:
    """Return the study that the user chose on this page, else the one that the launch named."""
    session = current_session()
    key = request.args.get(STUDY_PARAMETER)
    if key is None:
        return session.study_hint
    hint = session.choices.get(key)
    if hint is None:
        raise CdsError(
            Reason.NOT_FOUND,
            "This study is not among those that this window offered. "
            "Start the app again from the chart.",
        )
    return hint


def _keep_shown(analysis: LaunchAnalysis) -> None:
    """Remember which studies may be chosen and which pictures may be fetched."""
    choices = {study_key(study): study for study in analysis.studies}
    session = current_session().with_choices(choices)
    if analysis.report is not None and analysis.study is not None:
        session = session.with_shown(
            ShownReport(
                analysis.report.report_id,
                hint_of(analysis.study),
                picture_keys(analysis.report),
                has_query_picture=shows_query_picture(analysis.report),
            )
        )
    keep_session(session)


def case_picture_url(case_id: str, picture_id: str) -> str:
    """Return the address of a library picture within this window."""
    return url_for("study.case_picture", case_id=case_id, picture_id=picture_id)


def _fhir_url(page: StudyPage) -> str | None:
    """Return where this answer is as FHIR, where the EHR has agreed to such reports."""
    if page.answer is None or current_registration().report_mode is ReportMode.OFF:
        return None
    return url_for("study.fhir_report", report_id=page.answer.report.report_id)


def _no_picture() -> CdsError:
    return CdsError(Reason.NOT_FOUND, "This picture is not part of what this window shows.")
