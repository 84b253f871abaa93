"""`/launch`, `/callback` and signing out."""

from __future__ import annotations

import secrets
from datetime import timedelta
from hmac import compare_digest

from flask import Response, g, request, url_for

from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration
from cds.domain.time_limit import TimeLimit
from cds.ports import AuditEvent
from cds.web.access import public
from smart_app.access import clinician_session, current_session, is_https
from smart_app.engine_port import app_engine
from smart_app.launch.authorization import PendingLaunch, hash_of, start_launch
from smart_app.launch.clinician_session import ClinicianSession
from smart_app.launch.cookies import (
    COOKIE_LIFETIME_S,
    drop_cookie,
    launch_cookie,
    read_cookie,
    session_cookie,
    set_cookie,
)
from smart_app.launch.id_token import Expected, SignedInUser, verified_user
from smart_app.launch.scopes import check_granted
from smart_app.launch.session_store import STATE_LIFETIME
from smart_app.launch.token_request import TokenAnswer, exchange_code
from smart_app.pages.errors import page_blueprint, page_response

SIGN_IN_LIMIT_S = 20.0  # token and key set together; an EHR that is slower is not up
WINDOW_BYTES = 6  # a handle, not a secret
NO_ACCOUNT = "-"  # audit records of launches that name no registered EHR

launch_pages = page_blueprint("launch", __name__)


@launch_pages.get("/launch")
@public
def launch() -> Response:
    """Start an EHR launch: only for a registered EHR, only with a launch parameter."""
    iss, launch_value = request.args.get("iss", ""), request.args.get("launch", "")
    if not iss or not launch_value:
        raise CdsError(
            Reason.INVALID_REQUEST,
            "This address only works when the EHR opens it (iss and launch are missing). "
            "Open the patient's chart in the EHR and start the app from there.",
        )
    engine = app_engine()
    registration = engine.registrations.by_iss(iss)
    if registration is None:
        _audit(NO_ACCOUNT, "launch.refused", Reason.NOT_AUTHORIZED.value)
        raise CdsError(
            Reason.NOT_AUTHORIZED,
            "This EHR is not registered with Precedent. Ask your administrator to register it "
            "under exactly the FHIR address that it uses.",
        )
    g.registration = registration
    started = start_launch(
        registration,
        engine.smart_configuration(registration),
        launch=launch_value,
        redirect_uri=_redirect_uri(),
        is_development=engine.settings.development,
    )
    engine.sessions.put_state(
        started.state,
        registration.ehr_id,
        started.pending.to_payload(),
        lifetime=STATE_LIFETIME,
    )
    response = _see_other(started.authorize_url)
    name = launch_cookie(started.state, is_https=is_https())
    lifetime_s = int(STATE_LIFETIME.total_seconds())
    set_cookie(response, name, started.browser_secret, lifetime_s=lifetime_s)
    return response


@launch_pages.get("/callback")
@public
def callback() -> Response:
    """Finish an EHR launch: state, code, token, id_token, session; then show the study."""
    engine = app_engine()
    state = request.args.get("state", "")
    registration, pending = _take_pending(state)
    g.registration = registration
    try:
        answer, user = _sign_in(registration, pending)
        check_granted(answer.scope)
    except CdsError as error:
        _audit(registration.ehr_id, "login", error.reason.value)
        raise
    session = _new_session(registration, answer, user)
    session_id = engine.sessions.create(
        registration.ehr_id,
        session.to_payload(),
        lifetime=timedelta(seconds=answer.expires_in_s),
    )
    patient_key = engine.keys.patient_key(registration.ehr_id, answer.patient_id)
    told = f"study={answer.hint_bearer} {_frame()}"
    _audit(
        registration.ehr_id, "login", "success", who=user.who, patient_key=patient_key, detail=told
    )
    response = _see_other(url_for("study.study", w=session.window))
    drop_cookie(response, launch_cookie(state, is_https=is_https()))
    name = session_cookie(session.window, is_https=is_https())
    set_cookie(response, name, session_id, lifetime_s=COOKIE_LIFETIME_S)
    return response


@launch_pages.post("/app/sign-out")
@clinician_session
def sign_out() -> Response:
    """End the session of this window, on the server and in the browser."""
    _check_same_origin()
    session = current_session()
    app_engine().sessions.revoke(g.session_id)
    _audit(session.ehr_id, "logout", "success", who=session.who)
    response = page_response("signed_out.html")
    drop_cookie(response, session_cookie(session.window, is_https=is_https()))
    return response


def _take_pending(state: str) -> tuple[EhrRegistration, PendingLaunch]:
    """Return what this state was kept for; single use, and only for the browser that has it."""
    engine = app_engine()
    record = engine.sessions.take_state(state) if state else None
    secret = read_cookie(request, launch_cookie(state, is_https=is_https())) if state else None
    registration = engine.registrations.by_id(record.ehr_id) if record else None
    if record is None or registration is None:
        raise CdsError(
            Reason.NOT_AUTHENTICATED,
            "This sign-in has expired or was already used. "
            "Close this window and start the app again from the chart.",
        )
    pending = PendingLaunch.from_payload(record.payload)
    if secret is None or not compare_digest(hash_of(secret), pending.browser_hash):
        refusal = Reason.NOT_AUTHENTICATED.value
        _audit(registration.ehr_id, "launch.refused", refusal, detail=_frame())
        raise CdsError(
            Reason.NOT_AUTHENTICATED,
            "This sign-in was started in another browser window, or the browser refused the "
            "app's cookie. Start the app again from the chart; if it happens again, ask your "
            "administrator to allow partitioned cookies for this address.",
        )
    return registration, pending


def _sign_in(
    registration: EhrRegistration, pending: PendingLaunch
) -> tuple[TokenAnswer, SignedInUser]:
    """Exchange the code and verify who is signed in."""
    engine = app_engine()
    _check_authorization_answer(pending)
    deadline = TimeLimit(SIGN_IN_LIMIT_S)
    http = engine.http(registration)
    code = request.args["code"]
    answer = exchange_code(http, registration, pending, code=code, deadline=deadline)
    keys = engine.key_set(registration, pending.jwks_uri, deadline=deadline)
    expected = Expected(
        issuer=pending.issuer,
        client_id=registration.client_id,
        nonce=pending.nonce,
        fhir_base_url=registration.fhir_base_url,
        now=engine.clock.now(),
    )
    return answer, verified_user(answer.unverified_id_token, keys, expected)


def _check_authorization_answer(pending: PendingLaunch) -> None:
    """Refuse an error answer, and an answer of another server (RFC 9207)."""
    iss = request.args.get("iss")
    if iss != pending.issuer and (iss is not None or pending.sends_issuer):
        raise CdsError(
            Reason.NOT_AUTHENTICATED,
            "The sign-in was answered by another server than the one that was asked. "
            "Start the app again from the chart and tell your EHR administrator.",
        )
    if request.args.get("error") or not request.args.get("code"):
        raise CdsError(
            Reason.UPSTREAM_REFUSED,
            "The EHR did not allow this app to open. Start it again from the chart; "
            "if it happens again, ask your EHR administrator whether your role may use it.",
        )


def _new_session(
    registration: EhrRegistration, answer: TokenAnswer, user: SignedInUser
) -> ClinicianSession:
    lifetime = timedelta(seconds=answer.expires_in_s)
    return ClinicianSession(
        window=secrets.token_hex(WINDOW_BYTES),
        ehr_id=registration.ehr_id,
        who=user.who,
        access_token=answer.access_token,
        token_expires_at=app_engine().clock.now() + lifetime,
        patient_id=answer.patient_id,
        needs_patient_banner=answer.needs_patient_banner,
        study_hint=answer.study_hint,
    )


def _redirect_uri() -> str:
    """Return our registered address, as seen from outside the proxy."""
    return app_engine().settings.public_url.rstrip("/") + "/callback"


def _frame() -> str:
    """Return whether the browser says that this page opens in a frame (Sec-Fetch-Dest)."""
    place = request.headers.get("Sec-Fetch-Dest")
    if place is None:
        return "frame=unknown"
    return "frame=yes" if place in {"iframe", "frame"} else "frame=no"


def _see_other(url: str) -> Response:
    return Response(status=303, headers={"Location": url, "Cache-Control": "no-store"})


def _check_same_origin() -> None:
    """Refuse a form that another site's page has sent.

    Browsers say so in Sec-Fetch-Site; the Origin of our own pages reads ``null``, since they send
    no referrer, and counts only where a browser does not know Sec-Fetch-Site.

    Raises
    ------
    CdsError
        NOT_AUTHORIZED if the form is not our own.

    """
    site = request.headers.get("Sec-Fetch-Site")
    public_url = app_engine().settings.public_url.rstrip("/")
    is_own = (
        site == "same-origin" if site else request.headers.get("Origin", public_url) == public_url
    )
    if not is_own:
        raise CdsError(Reason.NOT_AUTHORIZED, "This form was sent by another site.")


def _audit(
    ehr_id: str,
    action: str,
    outcome: str,
    *,
    who: str | None = None,
    patient_key: str | None = None,
    detail: str | None = None,
) -> None:
    event = AuditEvent(ehr_id, action, outcome, who=who, patient_key=patient_key, detail=detail)
    app_engine().audit.record(event)
