"""Refusals on the wire: each reason to one status, each body an OperationOutcome, once."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from cds.domain.errors import CdsError, Reason
from cds.fhir.operation_outcome import operation_outcome
from cds.web.wire import fhir_response

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WireStatus:
    """What a reason becomes: an HTTP status and a code of FHIR's issue-type value set."""

    status: int
    issue_code: str
    headers: dict[str, str] = field(default_factory=dict)


STATUS_OF = {
    Reason.INVALID_REQUEST: WireStatus(400, "invalid"),
    Reason.NOT_AUTHENTICATED: WireStatus(401, "login"),
    Reason.NOT_AUTHORIZED: WireStatus(403, "forbidden"),
    Reason.NOT_FOUND: WireStatus(404, "not-found"),
    Reason.NO_IMAGING: WireStatus(404, "not-found"),
    Reason.IDENTITY_MISMATCH: WireStatus(409, "conflict"),
    Reason.MISSING_CONTEXT: WireStatus(412, "required"),
    Reason.IMAGE_UNREADABLE: WireStatus(422, "processing"),
    Reason.IMAGE_UNSUPPORTED: WireStatus(422, "not-supported"),
    Reason.AGE_UNSUPPORTED: WireStatus(422, "not-supported"),
    Reason.INVALID_CONFIGURATION: WireStatus(500, "exception"),
    Reason.EGRESS_REFUSED: WireStatus(502, "security"),
    Reason.UPSTREAM_FAILED: WireStatus(502, "transient"),
    Reason.UPSTREAM_REFUSED: WireStatus(502, "forbidden"),
    Reason.MODEL_UNAVAILABLE: WireStatus(503, "transient"),
    Reason.INDEX_UNAVAILABLE: WireStatus(503, "transient"),
    Reason.STORAGE_UNAVAILABLE: WireStatus(503, "transient"),
    Reason.DEADLINE: WireStatus(504, "timeout"),
}
_HTTP_ISSUE = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    413: "too-long",
    415: "not-supported",
    429: "throttled",
}
_HTTP_SENTENCE = {
    400: "The request cannot be read.",
    404: "There is nothing at this address.",
    405: "This address does not answer this method.",
    413: "The body is larger than this address accepts.",
    415: "The body has another media type than this address reads.",
}


class HttpRefusalError(Exception):
    """A refusal that has a status but no clinical reason: 405, 406, 413, 415."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def install_error_handlers(app: Flask) -> None:
    """Answer each refusal with its status and an OperationOutcome; a blueprint may override."""
    app.register_error_handler(CdsError, cds_error_response)
    app.register_error_handler(HttpRefusalError, http_refusal_response)
    app.register_error_handler(HTTPException, http_error_response)
    app.register_error_handler(Exception, unexpected_error_response)


def cds_error_response(error: CdsError) -> Response:
    """Return the answer to a refusal; its sentence is free of PHI by contract."""
    wire = STATUS_OF[error.reason]
    log.info("refused", extra={"reason": error.reason.value, "status": wire.status})
    response = outcome_response(wire.status, wire.issue_code, error.sentence)
    challenge = challenge_for(error, wire.status)
    if challenge is not None:
        response.headers["WWW-Authenticate"] = challenge
    return response


def challenge_for(error: CdsError, status: int) -> str | None:
    """Return the value of WWW-Authenticate that RFC 6750 asks for, or None."""
    code = error.facts.get("oauth_error")
    if status == 401:
        return 'Bearer realm="precedent"' + (f', error="{code}"' if code else "")
    if status == 403 and code:
        return f'Bearer realm="precedent", error="{code}"'
    return None


def http_refusal_response(error: HttpRefusalError) -> Response:
    """Return the answer to a refusal that only HTTP knows."""
    return outcome_response(
        error.status, _HTTP_ISSUE.get(error.status, "processing"), error.sentence
    )


def http_error_response(error: HTTPException) -> Response:
    """Return the answer to what Flask itself refuses; its own text is not repeated."""
    status = error.code or 500
    sentence = _HTTP_SENTENCE.get(status, "The request was refused.")
    response = outcome_response(status, _HTTP_ISSUE.get(status, "processing"), sentence)
    if status == 405:
        valid = getattr(error, "valid_methods", None)
        response.headers["Allow"] = ", ".join(sorted(valid)) if valid else "GET"
    return response


def unexpected_error_response(error: Exception) -> Response:
    """Return 500 with an id; the log gets the id, the class and the place, never the text."""
    error_id = str(uuid4())
    frames = traceback.extract_tb(error.__traceback__)
    place = "unknown"
    if frames:
        place = f"{Path(frames[-1].filename).stem}.{frames[-1].name}:{frames[-1].lineno}"
    log.error(
        "unexpected-error",
        extra={
            "error_id": error_id,
            "error_class": type(error).__name__,
            "place": place,
            "endpoint": request.endpoint or "none",
        },
    )
    return outcome_response(
        500, "exception", f"Something unexpected happened. Tell the operator this id: {error_id}."
    )


def outcome_response(status: int, issue_code: str, sentence: str) -> Response:
    """Return an OperationOutcome with one issue."""
    return fhir_response(operation_outcome(issue_code, sentence), status=status)
