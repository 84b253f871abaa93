"""Who may see the app's pages: the browser that holds the session of the window it asks for."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import g, request

from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration
from cds.ports import FhirAccess
from cds.web.access import AccessPolicy
from smart_app.engine_port import app_engine
from smart_app.launch.clinician_session import ClinicianSession
from smart_app.launch.cookies import read_cookie, session_cookie

WINDOW_PARAMETER = "w"
WINDOW_BLUEPRINTS = frozenset({"regions", "study", "upload"})
SESSION_ENDED = (
    "There is no open session in this window: it has ended, or the app was not started from a "
    "chart. Open the patient's chart in the EHR and start the app from there."
)


def is_https() -> bool:
    """Tell whether browsers reach this installation over https."""
    return urlsplit(app_engine().settings.public_url).scheme == "https"


def current_session() -> ClinicianSession:
    """Return the session that the policy has read for this request."""
    session: ClinicianSession = g.clinician_session
    return session


def current_registration() -> EhrRegistration:
    """Return the EHR that the session belongs to."""
    registration: EhrRegistration = g.registration
    return registration


def current_access() -> FhirAccess:
    """Return the user's own right to read this patient's record."""
    session = current_session()
    return FhirAccess(current_registration(), session.access_token, session.patient_id)


def keep_session(session: ClinicianSession) -> None:
    """Keep a changed session under the id of this request."""
    app_engine().sessions.replace(g.session_id, session.to_payload())
    g.clinician_session = session


def keep_window(endpoint: str, values: dict[str, object]) -> None:
    """Put the window's handle into each address that needs its session (`url_defaults`)."""
    if endpoint.partition(".")[0] in WINDOW_BLUEPRINTS and WINDOW_PARAMETER not in values:
        values[WINDOW_PARAMETER] = current_session().window


def _read_session(_arguments: dict[str, Any]) -> None:
    # The address first: a body is not read before it is known whose it is, nor under whose limit.
    window = request.args.get(WINDOW_PARAMETER) or request.form.get(WINDOW_PARAMETER, "")
    session_id = read_cookie(request, session_cookie(window, is_https=is_https()))
    engine = app_engine()
    record = engine.sessions.read(session_id) if session_id else None
    if session_id is None or record is None:
        raise CdsError(Reason.NOT_AUTHENTICATED, SESSION_ENDED)
    session = ClinicianSession.from_payload(record.payload)
    registration = engine.registrations.by_id(session.ehr_id)
    is_over = session.token_expires_at <= engine.clock.now()
    if registration is None or is_over or session.window != window:
        raise CdsError(Reason.NOT_AUTHENTICATED, SESSION_ENDED)
    g.session_id, g.clinician_session, g.registration = session_id, session, registration


clinician_session = AccessPolicy("clinician-session", _read_session)
