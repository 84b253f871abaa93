"""`/app/upload`: similar cases for a picture that the user brought along."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from flask import Response, g, request

from cds.domain.errors import CdsError
from cds.domain.report import CaseReport
from cds.ports import AuditEvent
from cds.web.errors import STATUS_OF
from smart_app.access import (
    clinician_session,
    current_registration,
    current_session,
    keep_session,
    keep_window,
)
from smart_app.engine_port import app_engine
from smart_app.launch.clinician_session import ShownReport
from smart_app.launch.form_token import check_form_token, form_token
from smart_app.pages.answer_parts import answer_parts, picture_keys
from smart_app.pages.errors import page_blueprint, page_response
from smart_app.pages.study import case_picture_url
from smart_app.pages.upload_form import (
    MAX_AGE_YEARS,
    MAX_UPLOAD_MB,
    SEXES,
    TOKEN_FIELD,
    VIEWS,
    UploadForm,
    read_upload_form,
)

FORM = "upload"

upload_pages = page_blueprint("upload", __name__)
upload_pages.url_defaults(keep_window)


@upload_pages.get("/app/upload")
@clinician_session
def form() -> Response:
    """Show the form."""
    return _page()


@upload_pages.post("/app/upload")
@clinician_session
def compare() -> Response:
    """Compare the picture of the form; what cannot be compared is said above the form."""
    received = read_upload_form(request)
    check_form_token(g.session_id, FORM, received.token)
    try:
        report = app_engine().analyse_upload(received.picture(), current_registration())
    except CdsError as error:
        _audit(error.reason.value)
        return _page(error, received)
    _audit("success")
    _keep_shown(report)
    answer = answer_parts(report, ZoneInfo(current_registration().time_zone))
    return page_response(
        "upload_answer.html",
        answer=answer,
        session=current_session(),
        case_picture=case_picture_url,
    )


def _page(refusal: CdsError | None = None, received: UploadForm | None = None) -> Response:
    return page_response(
        "upload.html",
        status=STATUS_OF[refusal.reason].status if refusal else 200,
        refusal=refusal,
        given=received.fields if received else {},
        session=current_session(),
        token_field=TOKEN_FIELD,
        token=form_token(g.session_id, FORM),
        views=VIEWS,
        sexes=SEXES,
        max_age_years=MAX_AGE_YEARS,
        max_mb=MAX_UPLOAD_MB,
    )


def _keep_shown(report: CaseReport) -> None:
    """Let this session fetch the pictures of the cases on the page, and nothing else."""
    shown = ShownReport(report.report_id, None, picture_keys(report), has_query_picture=False)
    keep_session(current_session().with_shown(shown))


def _audit(outcome: str) -> None:
    session = current_session()
    app_engine().audit.record(
        AuditEvent(session.ehr_id, "upload.compared", outcome, who=session.who)
    )
