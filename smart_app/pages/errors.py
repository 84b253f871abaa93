"""Pages that are not an answer: refusals and failures, each with what to do."""

from __future__ import annotations

import logging
import traceback
from uuid import uuid4

from flask import Blueprint, Response, g, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from cds.domain import wording
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration, Stage
from cds.web.errors import STATUS_OF, HttpRefusalError
from cds.web.headers import page_content_security_policy
from smart_app.engine_port import app_engine

log = logging.getLogger(__name__)

TITLES = {
    Reason.MISSING_CONTEXT: "No patient in this launch",
    Reason.UPSTREAM_FAILED: "The EHR or the PACS could not be reached",
    Reason.UPSTREAM_REFUSED: "The EHR refused",
    Reason.DEADLINE: "The EHR or the PACS took too long",
    Reason.EGRESS_REFUSED: "An address of this EHR is not registered",
    Reason.IDENTITY_MISMATCH: "The picture does not match this chart",
    Reason.NOT_FOUND: "Not found",
    Reason.MODEL_UNAVAILABLE: "The image model is not available",
    Reason.INDEX_UNAVAILABLE: "The case library is not ready",
    Reason.STORAGE_UNAVAILABLE: "The database does not answer",
    Reason.NOT_AUTHENTICATED: "Sign-in needed",
    Reason.NOT_AUTHORIZED: "Not allowed",
    Reason.INVALID_REQUEST: "This address cannot be opened like this",
    Reason.INVALID_CONFIGURATION: "This installation is not set up completely",
}
DEFAULT_TITLE = "Not assessed"

# Shown below the sentence of the refusal, where the refusal comes from the engine.
ADVICE = {
    Reason.UPSTREAM_FAILED: "Nothing was compared. Read in normal order, and try again later.",
    Reason.UPSTREAM_REFUSED: "Nothing was compared. Start the app again from the chart.",
    Reason.DEADLINE: "Nothing was compared. Read in normal order, and try again in a minute.",
    Reason.EGRESS_REFUSED: "Nothing was compared. Tell your EHR administrator.",
    Reason.IDENTITY_MISMATCH: "Nothing was compared. Tell the PACS team.",
    Reason.MODEL_UNAVAILABLE: "Nothing was compared. Tell the operator of Precedent.",
    Reason.INDEX_UNAVAILABLE: "Nothing was compared. Tell the operator of Precedent.",
    Reason.STORAGE_UNAVAILABLE: "Read in normal order, and try again in a minute.",
    Reason.INVALID_CONFIGURATION: "Tell the operator of Precedent.",
}
STAGES = {
    Stage.SANDBOX: "Sandbox: synthetic or test patients only",
    Stage.SILENT: "Silent stage: for evaluation only, not for patient care",
    Stage.RESEARCH: "Research stage",
}


def page_response(template: str, *, status: int = 200, **context: object) -> Response:
    """Render a page with the investigational header, and let only registered EHRs frame it."""
    registration: EhrRegistration | None = g.get("registration")
    engine = app_engine()
    text = render_template(
        template,
        investigational=wording.header(engine.settings.library_name),
        stage=stage_text(registration),
        model_change=engine.model_change(),
        **context,
    )
    response = make_response(text, status)
    ancestors = (
        registration.frame_ancestors
        if registration is not None
        # Without a session it is not known whose frame this is; such a page shows no patient.
        else sorted({a for one in engine.registrations.all() for a in one.frame_ancestors})
    )
    response.headers["Content-Security-Policy"] = page_content_security_policy(ancestors)
    response.headers["Cache-Control"] = "private, no-store"
    return response


def stage_text(registration: EhrRegistration | None) -> str | None:
    """Return what the banner says about the stage of use (SAFETY R-FDA-1).

    Examples
    --------
    >>> stage_text(None) is None
    True

    """
    if registration is None:
        return None
    text = STAGES[registration.stage]
    if registration.stage is Stage.RESEARCH and registration.protocol_number:
        text += f", protocol {registration.protocol_number}"
    return text


def refusal_page(error: CdsError) -> Response:
    """Return the page of a refusal; its sentence is free of PHI by contract."""
    status = STATUS_OF[error.reason].status
    log.info("page-refused", extra={"reason": error.reason.value, "status": status})
    return page_response(
        "error.html",
        status=status,
        title=TITLES.get(error.reason, DEFAULT_TITLE),
        sentence=error.sentence,
        advice=ADVICE.get(error.reason) if request.blueprint in {"study", "upload"} else None,
    )


def http_refusal_page(error: HttpRefusalError) -> Response:
    """Return the page of a refusal that only HTTP knows, for example a body that is too large."""
    log.info("page-refused", extra={"reason": "http", "status": error.status})
    return page_response(
        "error.html", status=error.status, title="Not accepted", sentence=error.sentence
    )


def http_error_page(error: HTTPException) -> Response:
    """Return the page of what Flask itself refuses; its own text is not repeated."""
    return http_refusal_page(HttpRefusalError(error.code or 500, "The request was refused."))


def unexpected_page(error: Exception) -> Response:
    """Return 500 with an id; the log gets the id, the class and the place, never the text."""
    error_id = str(uuid4())
    frames = traceback.extract_tb(error.__traceback__)
    log.error(
        "unexpected-error",
        extra={
            "error_id": error_id,
            "error_class": type(error).__name__,
            "place": f"{frames[-1].name}:{frames[-1].lineno}" if frames else "unknown",
            "endpoint": request.endpoint or "none",
        },
    )
    return page_response(
        "error.html",
        status=500,
        title="Something unexpected happened",
        sentence="Nothing was compared. Read in normal order.",
        advice=f"Tell the operator of Precedent this id: {error_id}",
    )


def page_blueprint(name: str, import_name: str) -> Blueprint:
    """Return a blueprint that answers its refusals with pages instead of OperationOutcomes."""
    blueprint = Blueprint(name, import_name)
    blueprint.register_error_handler(CdsError, refusal_page)
    blueprint.register_error_handler(HttpRefusalError, http_refusal_page)
    blueprint.register_error_handler(HTTPException, http_error_page)
    blueprint.register_error_handler(Exception, unexpected_page)
    return blueprint
