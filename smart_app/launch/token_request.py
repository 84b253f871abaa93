"""Exchange of an authorization code for a token, and what the answer says."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from cds.domain.errors import CdsError, Reason
from cds.domain.launch import StudyHint
from cds.domain.registration import EhrRegistration
from cds.domain.secrecy import SecretText
from cds.ports import Deadline
from smart_app.engine_port import Http
from smart_app.launch.authorization import PendingLaunch
from smart_app.launch.study_hints import bearer_of_hint, hint_from_token

DEFAULT_TOKEN_LIFETIME_S = 900  # where the server does not say: short, since it is a guess
MAX_TOKEN_LIFETIME_S = 8 * 3600  # a working day; no session lasts longer
_FHIR_ID = re.compile(r"^[A-Za-z0-9\-.]{1,64}$")  # FHIR R4, datatype id


@dataclass(frozen=True, slots=True, repr=False)
class TokenAnswer:
    """A token with its launch context, checked for shape; its id_token is still unverified."""

    access_token: SecretText
    expires_in_s: int
    scope: str
    patient_id: str
    unverified_id_token: str
    needs_patient_banner: bool
    study_hint: StudyHint | None
    hint_bearer: str = "none"

    def __repr__(self) -> str:
        return "TokenAnswer(<redacted>)"


def exchange_code(
    http: Http,
    registration: EhrRegistration,
    pending: PendingLaunch,
    *,
    code: str,
    deadline: Deadline,
) -> TokenAnswer:
    """Exchange a code at the token endpoint that this launch started with.

    Raises
    ------
    CdsError
        UPSTREAM_REFUSED if the server refuses the code; UPSTREAM_FAILED if its answer cannot be
        used; MISSING_CONTEXT if it names no patient; what `Http` raises.

    References
    ----------
    SMART App Launch 2.2, "Obtain access token"; RFC 6749, 2.3.1 and 4.1.3.

    """
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": pending.redirect_uri,
        "code_verifier": pending.code_verifier,
    }
    headers = {"Accept": "application/json"}
    if registration.client_secret is None:
        form["client_id"] = registration.client_id
    else:
        headers["Authorization"] = basic_credentials(
            registration.client_id, registration.client_secret
        )
    answer = http.post_form(pending.token_endpoint, form, headers=headers, deadline=deadline)
    _check_status(answer.status)
    return read_token_answer(answer.body)


def basic_credentials(client_id: str, client_secret: SecretText) -> str:
    """Return the Basic header; id and secret are form-encoded first.

    References
    ----------
    RFC 6749, 2.3.1 and appendix B: without the encoding ``:``, ``+``, ``/`` and ``%`` break it.

    Examples
    --------
    >>> basic_credentials("a:b", SecretText("p+q"))
    'Basic YSUzQWI6cCUyQnE='

    """
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret.reveal())}"
    return "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")


def read_token_answer(body: bytes) -> TokenAnswer:
    """Read a token response; every member is checked before it is believed.

    Raises
    ------
    CdsError
        UPSTREAM_FAILED if it is no usable token response, MISSING_CONTEXT if it names no patient.

    """
    members = _json_object(body)
    token = _text(members, "access_token", "it holds no access token")
    if _text(members, "token_type", "its token has no type").lower() != "bearer":
        raise CdsError(Reason.UPSTREAM_FAILED, _unusable_sentence("its token is no bearer token"))
    id_token = _text(members, "id_token", "it does not say who is signed in (id_token)")
    scope = _text(members, "scope", "it does not say what was granted (scope)")
    patient_id = members.get("patient")
    if not isinstance(patient_id, str) or not _FHIR_ID.match(patient_id):
        raise CdsError(
            Reason.MISSING_CONTEXT,
            "The EHR started this app without a patient. "
            "Open the patient's chart and start the app from there.",
        )
    return TokenAnswer(
        access_token=SecretText(token),
        expires_in_s=_lifetime_s(members.get("expires_in")),
        scope=scope,
        patient_id=patient_id,
        unverified_id_token=id_token,
        needs_patient_banner=members.get("need_patient_banner") is not False,
        study_hint=hint_from_token(members),
        hint_bearer=bearer_of_hint(members),
    )


def _lifetime_s(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return DEFAULT_TOKEN_LIFETIME_S
    return int(min(value, MAX_TOKEN_LIFETIME_S))


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise CdsError(Reason.UPSTREAM_FAILED, _unusable_sentence("it is not a JSON object"))
    return members


def _text(members: Mapping[str, Any], name: str, otherwise: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise CdsError(Reason.UPSTREAM_FAILED, _unusable_sentence(otherwise))
    return value


def _unusable_sentence(why: str) -> str:
    return (
        f"The EHR's answer to the sign-in cannot be used: {why}. "
        "Start the app again from the chart; if it happens again, tell your EHR administrator."
    )


def _check_status(status: int) -> None:
    if status == 200:
        return
    if status in {400, 401, 403}:
        raise CdsError(
            Reason.UPSTREAM_REFUSED,
            "The EHR refused the sign-in: this launch has expired or was already used. "
            "Close this window and start the app again from the chart.",
            status=status,
        )
    raise CdsError(
        Reason.UPSTREAM_FAILED,
        "The EHR's sign-in service did not answer as expected. Wait a minute and start the app "
        "again from the chart.",
        status=status,
    )
